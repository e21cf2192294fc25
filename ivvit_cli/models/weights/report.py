"""What loading weights did, tensor by tensor."""

from collections.abc import Mapping
from dataclasses import dataclass

_SHOWN = 6  # names per line; a report is read, not searched
_ADAPTERS = "encoder.adapters."


@dataclass(frozen=True)
class LoadReport:
    """The outcome of `load_weights`; `str()` of it is for a person.

    Attributes:
        source: as it was given.
        format: whose names the source uses (`importers.IMPORTERS`).
        loaded: the encoder's tensors that were taken as they were.
        resized: those that were resampled to the model's input.
        derived: those that the source lacks, started as the temporal kind says or by a formula.
        missing: those that the source lacks or has in another shape; they keep their values.
        unused: the source's other tensors, in this package's names.
        shapes: "theirs -> ours", of those that the source has in another shape.
        heads: the datasets whose heads took a classifier of the source.
        left: the datasets of a source whose classifiers no head took.
    """

    source: str
    format: str
    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    derived: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    shapes: Mapping[str, str]
    heads: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The share of the encoder's tensors that came from the source, from 0 to 1."""
        return 1 - len(self.missing) / self._total

    @property
    def _total(self) -> int:
        return sum(map(len, (self.loaded, self.resized, self.derived, self.missing)))

    def lines(self) -> list[str]:
        """Return the report as lines: a summary, then what was not taken as it was."""
        derived = tuple(name for name in self.derived if not name.startswith(_ADAPTERS))
        fresh = len(self.derived) - len(derived)
        taken = f"{len(self.loaded) + len(self.resized)} of {self._total - fresh}"
        lines = [f"{self.source} ({self.format}): {taken} encoder tensors loaded"]
        if self.heads:
            lines.append(f"  classifier: into head {', '.join(self.heads)}")
        if self.left:
            lines.append(f"  classifier: not kept, of {', '.join(self.left)}")
        if fresh:
            lines.append(f"  adapters: {fresh} tensors, not trained yet")
        parts = {"resized": self.resized, "derived": derived}
        for title, names in (parts | {"missing": self.missing, "unused": self.unused}).items():
            if names:
                lines.append(f"  {title} ({len(names)}): {self._shorten(names)}")
        return lines

    def _shorten(self, names: tuple[str, ...]) -> str:
        shown = [f"{name} ({self.shapes[name]})" if name in self.shapes else name for name in names]
        rest = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
        return ", ".join([*shown[:_SHOWN], *rest])

    def __str__(self) -> str:
        return "\n".join(self.lines())
