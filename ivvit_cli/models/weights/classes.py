"""Classifiers of a source: into which heads they may go, and in which order of classes."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import torch
from torch import Tensor

from ivvit_cli.errors import UsageError
from ivvit_cli.models.heads import head_key
from ivvit_cli.models.joint import JointModel
from ivvit_cli.models.weights.fit import show_shape

Names = Sequence[str]


def same_classes(
    model_classes: Mapping[str, Names], source_classes: Mapping[str, Names]
) -> dict[str, str]:
    """Return which head of the source has exactly the classes of which head of the model.

    The order of classes, upper case, and what stands between words may differ.
    """
    return {
        head: theirs
        for head, names in model_classes.items()
        for theirs, others in source_classes.items()
        if len(names) == len(others) and _rows(names, others) is not None
    }


def load_classifier(
    state: Mapping[str, Tensor],
    model: JointModel,
    head: str,
    source: str,
    *,
    theirs: str | None = None,
    ours: Names = (),
    others: Mapping[str, Names] | None = None,
) -> dict[str, tuple[str, Tensor]]:
    """Return what a head takes of a classifier: by the model's names, the source's and the tensor.

    Args:
        head: the model's head.
        theirs: the source's head; by default that of the same name, else the only one.
        ours: the head's class names, where they are known.
        others: the class names of the source's heads, where they are known. Where both are, the
            classifier's rows are put into this head's order, and those it lacks are left out.

    Raises:
        UsageError: the source has no such classifier, or it is of another shape.
    """
    found = find_classifier(state, head, source, theirs)
    prefix, names = list_classifiers(state)[found], (others or {}).get(found, ())
    rows = _rows(ours, names) if ours and names else None
    target = f"heads.{head_key(head)}."
    taken: dict[str, tuple[str, Tensor]] = {}
    for name, own in model.state_dict().items():
        if not name.startswith(target):
            continue
        key = prefix + name.removeprefix(target)
        given = state.get(key)
        if given is not None and rows is not None and _is_by_class(name, given, names):
            given = given[torch.tensor(rows)]
        if given is None or given.shape != own.shape:
            raise UsageError(
                f"{source}: its classifier does not fit head {head}: {key} is "
                f"{'absent' if given is None else show_shape(given)}, {show_shape(own)} is needed"
            )
        taken[name] = key, given
    return taken


def _is_by_class(name: str, given: Tensor, names: Names) -> bool:
    return ".linears." in name and len(given) == len(names)


def list_classifiers(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the prefix of each classifier's tensors by its dataset, "" for that of a lone one."""
    found = {match[0] for key in state if (match := re.match(r"head\.|heads\.[^.]+\.", key))}
    return {unquote(prefix[len("heads.") : -1]): prefix for prefix in sorted(found)}


def find_classifier(
    state: Mapping[str, Tensor], head: str, source: str, theirs: str | None = None
) -> str:
    """Return the source's name of the classifier for a head: `theirs`, the same, or the only one.

    Raises:
        UsageError: there is none, or several of other names.
    """
    found = list_classifiers(state)
    wanted = head if theirs is None else theirs
    same = [name for name in found if _word(name) == _word(wanted)]
    if len(same) == 1:
        return same[0]
    if len(found) == 1 and theirs is None:
        return next(iter(found))
    raise UsageError(
        f"{source}: has no classifier for head {head}",
        hint=f"it has {', '.join(found)}" if found else "it has none",
    )


def _rows(ours: Names, theirs: Names) -> list[int] | None:
    """Return the source's row of each class; None where one is not there, or not only once."""
    places = {_word(name): place for place, name in enumerate(theirs)}
    rows = [places.get(_word(name)) for name in ours]
    known = [row for row in rows if row is not None]
    unique = len(places) == len(theirs) and len(set(known)) == len(ours)
    return known if unique and len(known) == len(ours) else None


def _word(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().casefold()
