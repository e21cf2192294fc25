"""Pieces of a page: escaped text, tables, bars, pictures, and the frame around them."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape

_NUMBER = re.compile(r"[-+.,\d]*( to [-+.\d]+)?")

COLOURS = """
:root { --bg: #fff; --fg: #1c1e21; --muted: #5a6068; --line: #d5d9de; --soft: #f3f5f7;
  --c0: #0b62c4; --c1: #b3470b; --c2: #1d7a46; --c3: #8b2fa8; --c4: #8a6100; --c5: #b3123f; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #14161a; --fg: #e6e8eb; --muted: #a3abb5; --line: #3a4048; --soft: #1e2228;
    --c0: #6cb0ff; --c1: #ff9d5c; --c2: #5fcf8f; --c3: #d79bf0; --c4: #e3bb4f; --c5: #ff8fab; } }
"""
STYLE = (
    COLOURS
    + """* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 64rem; background: var(--bg);
  color: var(--fg); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin: 0 0 .3rem } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem } p { margin: .4rem 0 }
.muted, figcaption, th { color: var(--muted) }
code, pre { font: .85em/1.45 ui-monospace, monospace }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: normal } th { font-weight: 500 }
td.n, th.n { text-align: right; white-space: nowrap }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; overflow-wrap: normal }
.charts { display: grid; gap: 1rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)) }
figure { margin: 0 } svg { width: 100%; height: auto } svg text { fill: var(--muted);
  font: 11px system-ui, sans-serif } svg .axis { stroke: var(--line) }
svg polyline { fill: none; stroke-width: 2 }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85rem; padding: 0; margin: 0;
  list-style: none } .legend svg { width: 1.6rem; height: .6rem; margin-right: .3rem }
.bar { display: block; height: .7rem; margin-top: .4rem; background: var(--c0); min-width: 1px }
.mistakes { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)) }
.frames { display: flex; gap: 2px; align-items: start }
.frames img { min-width: 0; max-height: 5.5rem }
.mistakes p { font-size: .85rem; margin: .2rem 0 }
.matrix { image-rendering: pixelated; width: min(100%, 34rem); border: 1px solid var(--line) }
details { margin: .6rem 0 } summary { cursor: pointer }
@media (max-width: 40rem) { .wide table { width: max-content } td { max-width: 20rem } }
"""
)


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole document, which fetches nothing and runs nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{text(title)}</title><style>{STYLE}</style></head><body><main>",
            *body,
            "</main></body></html>\n",
        ]
    )


def text(value: object) -> str:
    """Return any text as HTML; what cannot be printed becomes a question mark."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in str(value))
    return escape(shown)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; cells that look like numbers stand to the right."""
    body = [list(map(str, row)) for row in rows]
    numeric = [all(_NUMBER.fullmatch(row[k]) for row in body) for k in range(len(columns))]

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = (' class="n"' if right else "" for right in numeric)
        made = (f"<{tag}{kind}>{text(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    head = cells("th", list(columns))
    return (
        f'<div class="wide"><table>{head}{"".join(cells("td", row) for row in body)}</table></div>'
    )


def picture(data: bytes, kind: str, description: str, style: str = "") -> str:
    """Return an image that is part of the page."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    extra = f' class="{style}"' if style else ""
    return f'<img{extra} alt="{text(description)}" src="{source}">'


def folded(title: str, inner: str) -> str:
    """Return something that opens when asked to."""
    return f"<details><summary>{text(title)}</summary>{inner}</details>"
