"""The writing wing: dataset layouts to WebDataset shards."""
