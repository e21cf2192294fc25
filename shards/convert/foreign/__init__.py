"""WebDataset tars that others made: found, walked, and indexed where they are."""
