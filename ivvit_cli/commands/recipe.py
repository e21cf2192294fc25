"""`ivvit recipe`: the recipes that come with ivvit, and the check of your own."""

from ivvit_cli import console


def ls() -> None:
    """List the recipes that come with ivvit."""
    console.table("Recipes", ["name"], [])
