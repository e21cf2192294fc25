"""Tables of the papers: their rows as runs, printed numbers beside measured ones."""
