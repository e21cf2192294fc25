"""One module per dataset layout. Each lists its items; none converts or copies anything."""

from importlib import import_module
from pathlib import Path

from shards.convert.items import Listing
from shards.errors import UsageError

SOURCES = {
    "cifar10": "shards.convert.sources.cifar",
    "cifar100": "shards.convert.sources.cifar",
    "tiny-imagenet": "shards.convert.sources.tiny_imagenet",
    "ucf101": "shards.convert.sources.ucf101",
    "kinetics": "shards.convert.sources.kinetics",
    "imagefolder": "shards.convert.sources.folders",
    "videofolder": "shards.convert.sources.folders",
}
FOLDED = ("ucf101",)  # have several official train and test lists


def list_source(source: str, root: Path, *, fold: int = 1) -> Listing:
    """List the dataset in `root`, which is laid out as `source` says.

    Raises:
        UsageError: there is no such source, or no such fold.
        InputError: the folder is missing, laid out otherwise, or holds nothing.
    """
    if source not in SOURCES:
        raise UsageError(f"dataset {source}: use one of {', '.join(SOURCES)}")
    module = import_module(SOURCES[source])
    listing: Listing = module.list_items(source, root, fold=fold)
    return listing
