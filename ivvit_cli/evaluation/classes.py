"""Do a checkpoint's head and a folder of shards mean the same classes by the same labels?"""

from collections.abc import Sequence

from shards.errors import InputError


def check_classes(dataset: str, head: Sequence[str], shards: Sequence[str]) -> None:
    """Compare the class names of a head with those of the shards, both in label order.

    Raises:
        InputError: they differ; the message names the first difference.
    """
    if tuple(head) == tuple(shards):
        return
    label = next(
        (i for i, (ours, theirs) in enumerate(zip(head, shards, strict=False)) if ours != theirs),
        min(len(head), len(shards)),
    )
    same_names = sorted(head) == sorted(shards)
    raise InputError(
        f"{dataset}: label {label} is {_name(head, label)} in the checkpoint ({len(head)} classes) "
        f"but {_name(shards, label)} in the shards ({len(shards)} classes)"
        + (": the same names in another order" if same_names else ""),
        hint="evaluate on shards made from the same class list as those of the training",
    )


def _name(classes: Sequence[str], label: int) -> str:
    return repr(classes[label]) if label < len(classes) else "no class"
