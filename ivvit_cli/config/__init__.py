"""Recipes: YAML to a typed, checked description of a run. Never imports torch."""
