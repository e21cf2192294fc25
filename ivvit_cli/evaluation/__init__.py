"""Multi-view evaluation: views, metrics, and the runner that joins them."""
