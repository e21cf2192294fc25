"""One module per dataset layout. Each lists its items; none converts or copies anything."""

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from shards.convert.items import Listing
from shards.errors import UsageError

SOURCES = {
    "cifar10": "shards.convert.sources.cifar",
    "cifar100": "shards.convert.sources.cifar",
    "tiny-imagenet": "shards.convert.sources.tiny_imagenet",
    "ucf101": "shards.convert.sources.ucf101",
    "hmdb51": "shards.convert.sources.hmdb51",
    "kinetics": "shards.convert.sources.kinetics",
    "kinetics400": "shards.convert.sources.kinetics_sized",
    "kinetics600": "shards.convert.sources.kinetics_sized",
    "kinetics700": "shards.convert.sources.kinetics_sized",
    "mini-kinetics": "shards.convert.sources.mini_kinetics",
    "ssv2": "shards.convert.sources.ssv2",
    "moments": "shards.convert.sources.moments",
    "smarthome": "shards.convert.sources.smarthome",
    "jester": "shards.convert.sources.jester",
    "imagenet": "shards.convert.sources.imagenet",
    "imagefolder": "shards.convert.sources.folders",
    "videofolder": "shards.convert.sources.folders",
    "csv": "shards.convert.sources.csv_lists",
    "frames": "shards.convert.sources.frames",
    "webdataset": "shards.convert.sources.webdataset",
}
FOLDED = ("ucf101", "hmdb51")  # have several official train and test lists
PROTOCOLS = {"smarthome": "cs"}  # have several official protocols; this is the first
STILLS = {"jester": 12.0, "frames": None}  # folders of frames, at this rate if not told another


def list_source(
    source: str,
    root: Path,
    *,
    fold: int = 1,
    protocol: str | None = None,
    fps: float | None = None,
) -> Listing:
    """List the dataset in `root`, which is laid out as `source` says.

    `fps` is the rate of extracted frames; other sources do not need it.

    Raises:
        UsageError: there is no such source, no such fold or protocol, or a rate is missing.
        InputError: the folder is missing, laid out otherwise, or holds nothing.
    """
    if source not in SOURCES:
        close = get_close_matches(source, SOURCES, n=1)
        meant = f" — did you mean {close[0]!r}?" if close else ""
        known = f"the datasets are {', '.join(SOURCES)}"
        raise UsageError(f"no dataset {source!r} is known{meant}", hint=known)
    if protocol is not None and source not in PROTOCOLS:
        raise UsageError(f"protocol {protocol}: only {' and '.join(PROTOCOLS)} has protocols")
    options: dict[str, object] = {}
    if source in FOLDED:
        options["fold"] = fold
    if protocol is not None:
        options["protocol"] = protocol
    if source in STILLS:
        options["fps"] = STILLS[source] if fps is None else fps
    listing: Listing = import_module(SOURCES[source]).list_items(source, root, **options)
    return listing
