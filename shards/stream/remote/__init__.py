"""Shards at a URL: read by byte ranges, and kept on this machine as far as there is room."""
