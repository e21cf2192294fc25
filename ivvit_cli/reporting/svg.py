"""Curves as SVG in the page's own colours, so that they can be read in light and in dark."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10

from ivvit_cli.reporting.html import text

Curve = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 18, 10, 30
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
COLOURS = 6


def line_chart(title: str, curves: Mapping[str, Curve], *, x_label: str) -> str:
    """Return a figure of curves over one axis, with a legend; curves without a point are left out.

    Curves differ in their dashes as well as in their colours.
    """
    drawn = {name: curve for name, curve in curves.items() if curve}
    if not drawn:
        return ""
    points = [point for curve in drawn.values() for point in curve]
    xs = _ticks(min(x for x, _ in points), max(x for x, _ in points))
    ys = _ticks(min(y for _, y in points), max(y for _, y in points))
    lines = [_line(k, curve, xs, ys) for k, curve in enumerate(drawn.values())]
    said = "; ".join(f"{name} ends at {_number(curve[-1][1])}" for name, curve in drawn.items())
    return (
        f"<figure><figcaption>{text(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(f"{title}: {said}")}">'
        f"{_axes(xs, ys, x_label)}{''.join(lines)}</svg>{_legend(list(drawn))}</figure>"
    )


def _axes(xs: Sequence[float], ys: Sequence[float], x_label: str) -> str:
    parts = []
    for y in ys:
        top = _place_y(y, ys)
        parts.append(
            f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{top:.1f}" y2="{top:.1f}"/>'
            f'<text x="{_LEFT - 5}" y="{top + 4:.1f}" text-anchor="end">{_number(y)}</text>'
        )
    for x in xs:
        left = _place_x(x, xs)
        parts.append(
            f'<text x="{left:.1f}" y="{HEIGHT - _BOTTOM + 14}" text-anchor="middle">'
            f"{_number(x)}</text>"
        )
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    label = f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{text(x_label)}</text>'
    return "".join([*parts, label])


def _line(number: int, curve: Curve, xs: Sequence[float], ys: Sequence[float]) -> str:
    places = " ".join(f"{_place_x(x, xs):.1f},{_place_y(y, ys):.1f}" for x, y in curve)
    if len(curve) == 1:  # a line of one point shows nothing
        x, y = places.split(",")
        return f'<circle cx="{x}" cy="{y}" r="3" fill="var(--c{number % COLOURS})"/>'
    return f'<polyline points="{places}" {stroke(number)}/>'


def _legend(names: Sequence[str]) -> str:
    items = (
        '<li><svg viewBox="0 0 26 10" aria-hidden="true"><polyline points="0,5 26,5" '
        f"{stroke(k)}/></svg>{text(name)}</li>"
        for k, name in enumerate(names)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def stroke(number: int) -> str:
    """Return the attributes of the curve of that number: its colour and its dashes."""
    dash = _DASHES[number % len(_DASHES)]
    return f'stroke="var(--c{number % COLOURS})" stroke-dasharray="{dash}"'


def _place_x(x: float, xs: Sequence[float]) -> float:
    return _LEFT + (x - xs[0]) / (xs[-1] - xs[0]) * (WIDTH - _LEFT - _RIGHT)


def _place_y(y: float, ys: Sequence[float]) -> float:
    return HEIGHT - _BOTTOM - (y - ys[0]) / (ys[-1] - ys[0]) * (HEIGHT - _TOP - _BOTTOM)


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers around a range."""
    span = (high - low) or abs(high) or 1.0
    power = 10 ** floor(log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * 4 >= span)
    first, last = floor(low / step), ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _number(value: float) -> str:
    return f"{value:,.6g}"
