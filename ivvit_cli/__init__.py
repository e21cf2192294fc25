"""Joint training of Vision Transformers on image and video datasets."""

__version__ = "0.1.0"
