"""How wide the columns of a table are on a terminal that is narrower than the table."""

from collections.abc import Sequence

from rich.cells import cell_len

_WHOLE = 16  # characters: a cell or word up to this long is short
_PART = 4  # characters of a header that stay together


def fit(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the widths that columns (a header and its cells, each) get in `room` characters.

    The widest give first: long cells are folded between words, then long words are broken, then
    short cells are folded, headers broken, and short words at last.
    """
    widths = [max(map(cell_len, column)) for column in columns]
    whole = [max(_word(header), *map(_short, cells), 1) for header, *cells in columns]
    words = [max(map(_word, column)) for column in columns]
    beside = [max(map(_word, (header[:_PART], *cells))) for header, *cells in columns]
    for floors in (whole, [min(floor, _WHOLE) for floor in whole], words, beside):
        _shrink(widths, floors, room)
    _shrink(widths, [1] * len(widths), room)
    return widths


def _shrink(widths: list[int], floors: list[int], room: int) -> None:
    columns = range(len(widths))
    while sum(widths) > room:
        wide = [number for number in columns if widths[number] > floors[number]]
        if not wide:
            return
        widths[max(wide, key=widths.__getitem__)] -= 1


def _short(cell: str) -> int:
    length = cell_len(cell)
    return length if length <= _WHOLE else _word(cell)


def _word(cell: str) -> int:
    return max(map(cell_len, cell.split()), default=1)
