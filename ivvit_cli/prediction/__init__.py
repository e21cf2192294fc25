"""Any file to labels, through the very views that evaluation uses."""
