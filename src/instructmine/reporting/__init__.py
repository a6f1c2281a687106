"""What a report says, and how it is shown.

    runs ─► rows ─► sections (blocks of plain numbers and sentences) ─► html │ markdown │ card

The sections are computed apart from any rendering, so every form prints the same numbers. Of the
pool only a bounded sample of rows is read; everything counted is counted over all rows.
"""
