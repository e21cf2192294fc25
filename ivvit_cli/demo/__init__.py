"""A tour of ivvit on data that it makes itself: four small datasets, one joint model."""
