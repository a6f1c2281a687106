"""Where jobs run, one per file: the only seam for distribution."""
