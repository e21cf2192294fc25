"""Weights of any source into a model."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote

from torch import Tensor

from ivvit_cli.errors import UsageError
from ivvit_cli.models.encoder import Encoder
from ivvit_cli.models.heads import head_key
from ivvit_cli.models.joint import JointModel
from ivvit_cli.models.lora import name_wrapped
from ivvit_cli.models.weights.classes import list_classifiers, load_classifier, same_classes
from ivvit_cli.models.weights.config import check_config, grid_side
from ivvit_cli.models.weights.fit import Fit, fit_encoder
from ivvit_cli.models.weights.importers import IMPORTERS, import_state
from ivvit_cli.models.weights.match import check_match
from ivvit_cli.models.weights.report import LoadReport
from ivvit_cli.models.weights.source import Source, read_source

Classes = Mapping[str, Sequence[str]]


def load_weights(
    model: JointModel, source: str, head: str | None = None, classes: Classes | None = None
) -> LoadReport:
    """Load pretrained weights into a model's encoder, and perhaps classifiers into heads.

    Embeddings of place, patch and time are resampled to the model's input. What a plain ViT lacks
    is started as the temporal kind says (`Encoder.derive`). Nothing is changed when an error is
    raised.

    Args:
        model: what `build_model` returned.
        source: `timm:NAME`, `hf:REPO` or `hf:REPO/FILE`, a file (safetensors, .npz or tensors saved
            by torch), a folder of the hub's, a run (`RUN`, `RUN@best-DATASET`, `RUN@step-N`, with
            `run:` before it or not) or a checkpoint folder.
        head: the dataset whose head takes the source's classifier, whatever its classes are.
        classes: the class names of the heads. A head takes the source's classifier when the source
            names exactly these classes, in whatever order.

    Raises:
        InputError: the file is damaged, holds more than tensors, or fits the backbone poorly.
        UsageError: the source does not exist at timm, or its classifier does not fit the head.
        EnvironmentFault: the file is absent or cannot be downloaded.
    """
    if head is not None and head_key(head) not in model.heads:
        names = ", ".join(map(unquote, model.heads))
        raise UsageError(f"the model has no head {head}", hint=f"it has {names}")
    match = match_weights(model, read_source(source), source, head=head, classes=classes or {})
    model.load_state_dict(match.tensors, strict=False)
    return match.report


@dataclass(frozen=True)
class Match:
    """What a source would load into a model: by the model's names, and the report of it."""

    tensors: dict[str, Tensor]
    report: LoadReport


def match_weights(
    model: JointModel, given: Source, source: str, *, head: str | None, classes: Classes
) -> Match:
    """Find what a source would load; the model keeps its values, and may be without memory.

    Raises:
        InputError, UsageError: as `load_weights`.
    """
    importer, imported = import_state(given.tensors, source)
    state = name_wrapped(imported, model)
    fit = fit_source(state, model.encoder, given, importer, source)
    taken = _classifiers(model, given, state, source, head, classes)
    tensors = {name: tensor for each in taken.values() for name, (_, tensor) in each.items()}
    used = {key for each in taken.values() for key, _ in each.values()}
    left = [name for name, start in list_classifiers(state).items() if not _begins(used, start)]
    report = LoadReport(
        source=source,
        format=importer,
        loaded=tuple(fit.loaded),
        resized=tuple(fit.resized),
        derived=tuple(fit.derived),
        missing=tuple(fit.missing),
        unused=tuple(sorted(state.keys() - fit.tensors.keys() - used)),
        shapes=fit.shapes,
        heads=tuple(taken),
        left=tuple(filter(None, left)),
    )
    return Match(fit.tensors | tensors, report)


def _begins(names: Iterable[str], start: str) -> bool:
    return any(name.startswith(start) for name in names)


def fit_source(
    state: Mapping[str, Tensor], encoder: Encoder, given: Source, importer: str, source: str
) -> Fit:
    """Fit a source's imported tensors to an encoder.

    Raises:
        InputError: they fit it poorly, or it computes otherwise with them.
    """
    origin = IMPORTERS.get(given.note.get("importer", importer), IMPORTERS[importer])
    fit = fit_encoder(state, encoder, origin.places, grid_side(given.config))
    check_match(fit, state, source)
    check_config(given.config, encoder, source)
    return fit


def _classifiers(
    model: JointModel,
    given: Source,
    state: Mapping[str, Tensor],
    source: str,
    head: str | None,
    classes: Classes,
) -> dict[str, dict[str, tuple[str, Tensor]]]:
    """Return what each head takes: the one that is asked for, and those of the same classes."""
    taken = {}
    for name, theirs in same_classes(classes, given.classes).items():
        with suppress(UsageError):  # nobody asked for it, so it need not fit
            taken[name] = load_classifier(
                state,
                model,
                name,
                source,
                theirs=theirs,
                ours=classes[name],
                others=given.classes,
            )
    if head is not None and head not in taken:
        ours = classes.get(head, ())
        taken[head] = load_classifier(state, model, head, source, ours=ours, others=given.classes)
    return taken
