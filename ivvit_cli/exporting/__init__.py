"""Trained models as files for elsewhere."""
