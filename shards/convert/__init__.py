"""The writing wing: source datasets in, tar shards with an index out."""
