"""Judges: which of two answers is better, or how good one is. One file each."""
