"""Hugging Face's hub: its cache on this machine, then the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ivvit_cli.errors import EnvironmentFault, UsageError
from ivvit_cli.models.weights.repository import CONFIG_FILE, WEIGHT_FILES, list_parts

_PATIENCE = 5.0  # seconds until the hub counts as out of reach


def fetch(place: str) -> Path:
    """Return the file of weights, or their index, of `OWNER/REPO` or `OWNER/REPO/FILE`.

    With a repository come its config.json, if it has one, and the parts that an index names.

    Raises:
        UsageError: the place is of another form.
        EnvironmentFault: it can neither be downloaded nor found in the cache.
    """
    owner, name, file = (*place.split("/", 2), "", "")[:3]
    if not owner or not name:
        raise UsageError(f"hf:{place}: not of the form hf:OWNER/REPO or hf:OWNER/REPO/FILE")
    with downloading(f"hf:{place}"):
        return _file(f"{owner}/{name}", file) if file else _repository(f"{owner}/{name}")


def _repository(repo: str) -> Path:
    path = _first(repo, WEIGHT_FILES)
    for part in list_parts(path) if path.suffix == ".json" else ():
        _file(repo, part)
    _optional(repo, CONFIG_FILE)
    return path


def _first(repo: str, names: tuple[str, ...]) -> Path:
    for name in names:
        if path := _optional(repo, name):
            return path
    raise FileNotFoundError(f"none of {', '.join(names)} is there or in the cache")


def _optional(repo: str, name: str) -> Path | None:
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return _file(repo, name)
    except (EntryNotFoundError, LocalEntryNotFoundError):
        return None


def _file(repo: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repo, name))


@contextmanager
def downloading(source: str) -> Iterator[None]:
    """Download, or take what the hub's cache holds when the hub is out of reach.

    The hub's own client would try each file six times over 23 s, and print a line each time.

    Raises:
        EnvironmentFault: what went wrong within, in one line.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    obstacle = "" if before else _obstacle(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = before or bool(obstacle)
    try:
        yield
    except Exception as error:  # the hub, its HTTP client, the disk: each has a family of its own
        reason = (obstacle or str(error).strip() or type(error).__name__).splitlines()[0]
        raise EnvironmentFault(
            f"{source}: cannot be downloaded: {reason}",
            hint="with the file at hand: model.weights=FILE",
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def offline() -> Iterator[None]:
    """Take what the hub's cache on this machine holds, and nothing from the network."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _obstacle(endpoint: str) -> str:
    """Return what keeps the hub from answering at all; nothing, if it does."""
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=_PATIENCE)
    except Exception as error:  # of the HTTP client, which depends on the hub's version
        return f"{endpoint}: {error}"
    return ""
