"""Where weights come from: timm, the Hugging Face hub, a file, a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import timm
from torch import Tensor

from ivvit_cli.errors import EnvironmentFault, InputError, UsageError
from ivvit_cli.models.backbone import check_vit_name
from ivvit_cli.models.weights.files import read_tensors

_CHECKPOINT = "model.safetensors"


def read_source(source: str) -> dict[str, Tensor]:
    """Return the tensors of `timm:NAME`, `hf:REPO[/FILE]`, a file, a run or a checkpoint.

    Raises:
        InputError: the file is damaged, of an unknown format, or holds more than tensors.
        UsageError: timm knows no such weights.
        EnvironmentFault: the file is absent or cannot be downloaded.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "timm":
        return _read_timm(rest)
    if scheme == "hf":
        return read_tensors(_download(rest))
    return read_tensors(_find(Path(source).expanduser()))


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
        return Path(hf_hub_download(f"{owner}/{name}", file or _CHECKPOINT))


@contextmanager
def _downloading(source: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub, its HTTP client, the disk: each has a family of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EnvironmentFault(
            f"{source}: cannot be downloaded: {reason}",
            hint="with the file at hand, give its path as `weights`",
        ) from error


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise EnvironmentFault(f"{path}: no such file of weights", hint=_where_to_get(path))
    for file in (path / _CHECKPOINT, path / "checkpoints" / "last" / _CHECKPOINT):
        if file.is_file():
            return file
    raise InputError(f"{path}: is no run or checkpoint: it holds no {_CHECKPOINT}")


def _where_to_get(path: Path) -> str:
    if "tokshift" in path.name:
        return (
            "github.com/VideoNetworks/TokShift-Transformer links it (TokShift, Base-16, 224 & 8); "
            "a start without it: weights=timm:vit_base_patch16_224.orig_in21k"
        )
    return "`weights` may also be timm:NAME, hf:REPO, a run, or left out"
