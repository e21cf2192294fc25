"""Where weights come from: timm, the Hugging Face hub, a file, a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import timm
from torch import Tensor

from ivvit_cli.errors import EnvironmentFault, UsageError
from ivvit_cli.models.backbone import check_vit_name
from ivvit_cli.models.weights.files import read_tensors
from ivvit_cli.runs import WEIGHTS_FILE, check_file, find_checkpoint, read_meta

_PATIENCE = 5.0  # seconds until the hub counts as out of reach


def read_source(source: str) -> dict[str, Tensor]:
    """Return the tensors of `timm:NAME`, `hf:REPO[/FILE]`, a file, a run or a checkpoint.

    Raises:
        InputError: the file is damaged, of an unknown format, or holds more than tensors.
        UsageError: timm knows no such weights.
        EnvironmentFault: the file is absent or cannot be downloaded.
    """
    path = _find_weights(source)
    if path is not None:
        return read_tensors(path)
    scheme, _, name = source.partition(":")
    return _read_timm(name) if scheme == "timm" else read_tensors(_download(name))


def _find_weights(source: str) -> Path | None:
    """Return the file of weights on this machine, that of a run by its hash; None for a download.

    Raises:
        InputError: there is no such checkpoint, or it is damaged.
        EnvironmentFault: there is no such file.
    """
    if source.startswith(("timm:", "hf:")):
        return None
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if not path.exists() and "@" not in source:
        raise EnvironmentFault(f"{path}: no such file of weights", hint=_where_to_get(path))
    checkpoint = find_checkpoint(path)
    return check_file(checkpoint, read_meta(checkpoint), WEIGHTS_FILE)


def _read_timm(name: str) -> dict[str, Tensor]:
    check_vit_name(name)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        config = None
    if config is None or not config.has_weights:
        tags = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*"))
        hint = f"it has {tags}" if tags else "it has none for this model"
        raise UsageError(f"timm:{name}: timm has no such weights", hint=hint)
    with _downloading(f"timm:{name}"):
        state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    return state


def _download(place: str) -> Path:
    from huggingface_hub import hf_hub_download

    owner, name, file = (*place.split("/", 2), "", "")[:3]
    if not owner or not name:
        raise UsageError(f"hf:{place}: not of the form hf:OWNER/REPO or hf:OWNER/REPO/FILE")
    with _downloading(f"hf:{place}"):
        return Path(hf_hub_download(f"{owner}/{name}", file or WEIGHTS_FILE))


@contextmanager
def _downloading(source: str) -> Iterator[None]:
    """Download, or take what the hub's cache holds when the hub is out of reach.

    The hub's own client would try each file six times over 23 s, and print a line each time.
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


def _obstacle(endpoint: str) -> str:
    """Return what keeps the hub from answering at all; nothing, if it does."""
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=_PATIENCE)
    except Exception as error:  # of the HTTP client, which depends on the hub's version
        return f"{endpoint}: {error}"
    return ""


def _where_to_get(path: Path) -> str:
    if "tokshift" in path.name:
        return (
            "github.com/VideoNetworks/TokShift-Transformer links it (TokShift, Base-16, 224 & 8); "
            "a start without it: model.weights=timm:vit_base_patch16_224.orig_in21k"
        )
    return "model.weights=… takes timm:NAME, hf:REPO, a file, a run, or null for random weights"
