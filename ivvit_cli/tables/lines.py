"""The lines of a table: what is printed beside ours, number by number."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ivvit_cli.tables.run import RowResult


class Line(NamedTuple):
    """A number of a row: percent, or percentage points above another row (`over`).

    `printed` is None where a paper has none, and `ours` where there is no run.
    """

    row: str
    dataset: str
    measure: str
    printed: float | None
    ours: float | None
    over: str = ""

    def cells(self, smoke: bool) -> tuple[str, str, str, str, str, str]:
        """Return its cells; a small table has no difference worth a look."""
        sign = "+" if self.over else ""
        what = f"{self.measure} over {self.over}" if self.over else self.measure
        printed = "" if self.printed is None else f"{self.printed:{sign}.2f}"
        ours = "" if self.ours is None else f"{self.ours:{sign}.2f}"
        compared = not smoke and self.printed is not None
        less = _difference(self.ours, self.printed) if compared else None
        return self.row, self.dataset, what, printed, ours, "" if less is None else f"{less:+.2f}"


def lines_of(results: Mapping[str, RowResult], metric: str) -> Iterator[Line]:
    """Yield the lines of some rows' results, by row."""
    for name, each in results.items():
        for dataset in each.row.printed or each.ours:
            printed = each.row.printed.get(dataset)
            yield Line(name, dataset, metric, printed, each.ours.get(dataset))
        for dataset, beside in each.row.top5.items():
            yield Line(name, dataset, "top5", beside, each.top5.get(dataset))
        for other, gains in each.row.gains.items():
            theirs = results[other].ours if other in results else {}
            for dataset, gain in gains.items():
                above = _difference(each.ours.get(dataset), theirs.get(dataset))
                yield Line(name, dataset, metric, gain, above, over=other)


def _difference(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs
