"""Orders of a pool, one per file: every smaller budget is a prefix of the order."""
