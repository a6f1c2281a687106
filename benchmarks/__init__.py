"""Measurements, each a script of its own: ratios against baselines in one run."""
