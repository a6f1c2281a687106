"""Measurements of examples, one per file; see `docs/indicators.md` to write another."""
