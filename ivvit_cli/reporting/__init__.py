"""Runs as a person reads them: one in a page, several side by side."""
