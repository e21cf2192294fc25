"""Weights that others have trained: find them, read them safely, fit them to a model, report."""

from urllib.parse import unquote

from ivvit_cli.errors import UsageError
from ivvit_cli.models.heads import head_key
from ivvit_cli.models.joint import JointModel
from ivvit_cli.models.weights.fit import find_classifier, fit_encoder
from ivvit_cli.models.weights.importers import import_state
from ivvit_cli.models.weights.report import LoadReport
from ivvit_cli.models.weights.source import read_source

__all__ = ["LoadReport", "load_weights"]


def load_weights(model: JointModel, source: str, head: str | None = None) -> LoadReport:
    """Load pretrained weights into a model's encoder, and perhaps a classifier into one head.

    Embeddings of place, patch and time are resampled to the model's input. What a plain ViT lacks
    is started as the temporal kind says (`Encoder.derive`). Nothing is changed when an error is
    raised.

    Args:
        model: what `build_model` returned.
        source: `timm:NAME`, `hf:REPO` or `hf:REPO/FILE`, a file (safetensors, .npz or tensors saved
            by torch), a run (`RUN`, `RUN@best-DATASET`, `RUN@step-N`) or a checkpoint folder.
        head: the dataset whose head takes the source's classifier.

    Raises:
        InputError: the file is damaged, holds more than tensors, or fits the backbone poorly.
        UsageError: the source does not exist at timm, or its classifier does not fit the head.
        EnvironmentFault: the file is absent or cannot be downloaded.
    """
    if head is not None and head_key(head) not in model.heads:
        names = ", ".join(map(unquote, model.heads))
        raise UsageError(f"the model has no head {head}", hint=f"it has {names}")
    format_name, state = import_state(read_source(source), source)
    fit = fit_encoder(state, model.encoder, source)
    classifier = {} if head is None else find_classifier(state, model, head, source)
    tensors = fit.tensors | {name: state[key] for name, key in classifier.items()}
    model.load_state_dict(tensors, strict=False)
    taken = {*fit.tensors, *classifier.values()}
    return LoadReport(
        source=source,
        format=format_name,
        loaded=tuple(fit.loaded),
        resized=tuple(fit.resized),
        derived=tuple(fit.derived),
        missing=tuple(fit.missing),
        unused=tuple(sorted(state.keys() - taken)),
        shapes=fit.shapes,
        head=head,
    )
