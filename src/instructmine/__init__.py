"""Picks the instruction examples worth fine-tuning on, and proves that they were worth it."""

__version__ = "0.1.0"
