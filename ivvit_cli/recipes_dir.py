"""Where the recipes that come with ivvit lie."""

from pathlib import Path


def recipes_dir() -> Path:
    """Return the folder of recipes: in the installed package, else in the checkout beside it."""
    package = Path(__file__).parent
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def shipped_tables() -> dict[str, Path]:
    """Return the papers' tables that come with ivvit, by name."""
    return dict(sorted((path.stem, path) for path in (recipes_dir() / "tables").glob("*.yaml")))


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with ivvit, by name."""
    return dict(sorted((path.stem, path) for path in recipes_dir().glob("*.yaml")))
