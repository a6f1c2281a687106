"""Searchers: one file each, found by name."""
