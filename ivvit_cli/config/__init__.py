"""Recipes: YAML files, checked into typed values before anything starts."""

from ivvit_cli.config.load import dump_recipe, load_recipe, locate_shards, resolve_shards
from ivvit_cli.config.schema import Recipe

__all__ = ["Recipe", "dump_recipe", "load_recipe", "locate_shards", "resolve_shards"]
