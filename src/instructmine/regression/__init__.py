"""Regression of log loss on indicators: pure mathematics over arrays and small dataclasses.

`analysis.analyse` runs everything in order; each other module does one job. Nothing here reads
files or knows what an indicator is.
"""
