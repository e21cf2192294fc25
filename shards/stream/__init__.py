"""The reading wing: shards to batches of uint8 frames."""
