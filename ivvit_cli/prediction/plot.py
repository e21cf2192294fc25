"""Timelines as one SVG that stands alone and follows the reader's light or dark."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from ivvit_cli.prediction.heads import Head
from ivvit_cli.prediction.reader import Prediction
from ivvit_cli.prediction.timeline import Moment, Segment, clock, merge
from ivvit_cli.reporting.html import COLOURS, text
from ivvit_cli.reporting.svg import stroke

WIDTH = 900
_LEFT, _RIGHT = 46, 26
_TITLE, _RIBBON, _GAP, _CURVES, _AXIS, _ROW = 26, 22, 10, 130, 26, 18  # heights, from above
_LETTER = 6.4  # pixels of a letter, on average
_NAME = 90  # letters of a file's path
_DRAWN = 6  # labels with a colour and a curve
_KEPT = 10  # labels whose scores are kept of a window
_POINTS = 400  # of a curve
_TICKS = 10  # at most, of the time axis
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_STYLE = f"""{COLOURS}
svg {{ background: var(--bg); max-width: 100%; height: auto }}
text {{ fill: var(--muted); font: 11px system-ui, sans-serif }}
.name {{ fill: var(--fg); font-size: 13px }} .inside {{ fill: var(--bg) }}
.axis {{ stroke: var(--line) }} polyline {{ fill: none; stroke-width: 1.5 }}
"""


@dataclass
class Track:
    """What a head sees in a video: the windows, and the highest scores of each by their label."""

    file: str
    head: str
    moments: list[Moment] = field(default_factory=list)
    scores: list[Mapping[str, float]] = field(default_factory=list)


class Tracks:
    """Gathers windows, as they are scored, to one track for each video and head."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self._heads = heads
        self._open: dict[str, Track] = {}
        self.tracks: list[Track] = []

    def add(self, prediction: Prediction) -> None:
        """Take a prediction; those without a time or with an error are passed over."""
        if prediction.span is None:
            return
        start, end = prediction.span
        if start == 0:
            file = str(prediction.path)
            self._open = {head.name: Track(file, head.name) for head in self._heads}
        if prediction.error:
            return
        for head in self._heads:
            track, best = self._open[head.name], head.best(prediction.scores[head.name], _KEPT)
            if not track.moments:
                self.tracks.append(track)
            track.moments.append(Moment(start, end, *best[0]))
            track.scores.append(dict(best))


def draw(tracks: Sequence[Track]) -> bytes:
    """Return an SVG with a panel for each track, one below the other.

    A panel has a ribbon of the top-1 labels, and the scores of the six that are on it longest.
    """
    panels = []
    top = 0
    for track in tracks:
        drawn = _longest(merge(track.moments))
        rows = list(_legend_rows(drawn, others=any(m.label not in drawn for m in track.moments)))
        panels.append(f'<g transform="translate(0 {top})">{_panel(track, drawn, rows)}</g>')
        top += _TITLE + _RIBBON + _GAP + _CURVES + _AXIS + _ROW * len(rows) + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" '
        f'height="{top}" role="img" aria-label="Timelines of {len(tracks)} videos">'
        f"<style>{_STYLE}</style>{''.join(panels)}</svg>\n"
    ).encode()


def _panel(track: Track, drawn: Sequence[str], rows: Sequence[str]) -> str:
    end = track.moments[-1].end
    low = _TITLE + _RIBBON + _GAP + _CURVES
    legend = "".join(
        f'<g transform="translate(0 {low + _AXIS + number * _ROW})">{row}</g>'
        for number, row in enumerate(rows)
    )
    return "".join(
        (
            f'<text class="name" x="{_LEFT}" y="17">{text(_name(track))}</text>',
            *(_ribbon(segment, drawn, end) for segment in merge(track.moments)),
            *_axes(end, low),
            *(_curve(number, label, track, end) for number, label in enumerate(drawn)),
            legend,
        )
    )


def _name(track: Track) -> str:
    """Return file and head, without the file's first folders where they are too long."""
    file = track.file if len(track.file) <= _NAME else f"…{track.file[-_NAME:]}"
    return f"{file} · {track.head}"


def _longest(segments: Iterable[Segment]) -> list[str]:
    """Return the labels that are on top longest, at most six, the longest first."""
    times: dict[str, float] = {}
    for segment in segments:
        times[segment.label] = times.get(segment.label, 0.0) + segment.end - segment.start
    return sorted(times, key=lambda label: -times[label])[:_DRAWN]


def _ribbon(segment: Segment, drawn: Sequence[str], end: float) -> str:
    left, right = _place(segment.start, end), _place(segment.end, end)
    known = segment.label in drawn
    fill = f"var(--c{drawn.index(segment.label)})" if known else "var(--muted)"
    said = f"{clock(segment.start)} to {clock(segment.end)}: {segment.label}"
    bar = (
        f'<rect x="{left:.1f}" y="{_TITLE}" width="{max(right - left - 0.5, 0.5):.1f}" '
        f'height="{_RIBBON}" fill="{fill}"><title>{text(said)}, {100 * segment.score:.0f} %'
        f"</title></rect>"
    )
    if _LETTER * len(segment.label) + 8 > right - left:
        return bar
    middle, line = (left + right) / 2, _TITLE + _RIBBON / 2 + 4
    name = text(segment.label)
    return (
        f'{bar}<text class="inside" x="{middle:.1f}" y="{line}" text-anchor="middle">{name}</text>'
    )


def _axes(end: float, low: float) -> Iterator[str]:
    for share in (0, 50, 100):
        y = low - share / 100 * _CURVES
        yield f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 5}" y="{y + 4}" text-anchor="end">{share} %</text>'
    step = next((step for step in _STEPS if step * _TICKS >= end), ceil(end / _TICKS))
    for number in range(int(end / step) + 1):
        x = _place(number * step, end)
        label = clock(number * step).removesuffix(".0")
        yield f'<text x="{x:.1f}" y="{low + 15}" text-anchor="middle">{label}</text>'


def _curve(number: int, label: str, track: Track, end: float) -> str:
    """Return the scores of a label over the middles of windows, in means of several if many."""
    step = ceil(len(track.moments) / _POINTS)
    places = []
    for first in range(0, len(track.moments), step):
        moments = track.moments[first : first + step]
        scores = track.scores[first : first + step]
        x = _place((moments[0].start + moments[-1].end) / 2, end)
        share = sum(each.get(label, 0.0) for each in scores) / len(scores)
        places.append((x, _TITLE + _RIBBON + _GAP + (1 - share) * _CURVES))
    if len(places) == 1:  # a line of one point shows nothing
        x, y = places[0]
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="var(--c{number})"/>'
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{points}" {stroke(number)}/>'


def _legend_rows(drawn: Sequence[str], *, others: bool) -> Iterator[str]:
    """Yield rows of a legend, each as wide as the picture."""
    signs = [(label, stroke(number)) for number, label in enumerate(drawn)]
    if others:
        signs.append(("others", 'stroke="var(--muted)"'))
    row, left = "", float(_LEFT)
    for label, sign in signs:
        width = 32 + _LETTER * len(label) + 16
        if row and left + width > WIDTH - _RIGHT:
            yield row
            row, left = "", float(_LEFT)
        row += (
            f'<polyline points="{left:.1f},10 {left + 26:.1f},10" {sign}/>'
            f'<text x="{left + 32:.1f}" y="14">{text(label)}</text>'
        )
        left += width
    yield row


def _place(moment: float, end: float) -> float:
    return _LEFT + moment / end * (WIDTH - _LEFT - _RIGHT)
