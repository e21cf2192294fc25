"""The console's pieces: cleaning, tables, JSON, progress."""

import io
import json
import math
import os
import pty
import subprocess
import sys

import pytest
from conftest import clean_environment
from rich.console import Console

from ivvit_cli import console
from ivvit_cli.fitting import fit


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain naïve 日本 [bold]", "plain naïve 日本 [bold]"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("\udcff", "\\udcff"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        (7, "7"),
    ],
)
def test_clean_text_is_printable(text: object, shown: str) -> None:
    assert console.clean(text) == shown


def test_markup_in_a_name_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("t", ["[red]name", "n"], [["[bold]x[/] :smile:", 1]])
    console.say("[bold]y[/]")
    captured = capsys.readouterr()
    assert captured.out == "[red]name           n\n[bold]x[/] :smile:  1\n"
    assert captured.err == "[bold]y[/]\n"


def test_numbers_are_aligned_on_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("t", ["name", "samples"], [["a", 5], ["b", 12345]])
    assert capsys.readouterr().out == "name  samples\na           5\nb       12345\n"


def test_an_empty_table_has_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("t", ["name"], [])
    assert capsys.readouterr().out == "name\n"


def on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: list[str], rows: list[list[object]]
) -> list[str]:
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal has 80 columns, whatever it is told
    terminal = Console(file=io.StringIO(), force_terminal=True, width=50, color_system=None)
    monkeypatch.setattr(console, "out", terminal)
    with terminal.capture() as capture:
        console.table("t", columns, rows)
    return [line.strip() for line in capture.get().splitlines()]


def test_a_narrow_terminal_folds_what_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    about = "12 words that are one long text which the terminal has no room for"
    columns = ["dataset", "95 %", "steps", "how"]
    lines = on_a_terminal(monkeypatch, columns, [["tiny-imagenet", "41.7 to 84.8", 1, about]])
    assert all(len(line) <= 50 for line in lines)
    (first,) = (line for line in lines if line.startswith("tiny-imagenet  41.7 to 84.8  "))
    assert first.endswith("  12 words")
    assert "terminal" not in first


def test_a_terminal_gets_no_empty_column(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_a_terminal(monkeypatch, ["a", "none", "b"], [["x", None, 0], ["y", "", 1]])[2] == (
        "a   b"
    )
    assert "none" in on_a_terminal(monkeypatch, ["a", "none"], [])[2]


@pytest.mark.parametrize(
    ("room", "widths"),
    [
        (60, [4, 6, 22, 23]),
        (40, [4, 6, 22, 8]),  # text is folded between its words
        (33, [4, 6, 17, 6]),  # long words are broken, and short cells still whole
        (12, [3, 3, 3, 3]),
        (2, [1, 1, 1, 1]),
    ],
)
def test_what_a_column_gives(room: int, widths: list[int]) -> None:
    columns = [["name", "ab"], ["score", "98.5 %"], ["file", "a-very-long-file-name."]]
    assert fit([*columns, ["how", "the middle of the video"]], room) == widths


def test_json_is_one_document_and_plain_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"name": "é\x1b\u202e\udcff", "n": [1, 2.5, None]}
    console.print_json(document)
    printed = capsys.readouterr().out
    assert json.loads(printed) == document
    assert printed.isascii()
    assert "\x1b" not in printed


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.print_json({"loss": math.nan})


def test_progress_off_a_terminal_is_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PLAIN_PERIOD", 0.0)
    with console.progress("sharding", 3, "clips") as bar:
        bar.advance()
        bar.advance(2)
    with console.progress("reading", None, "files") as bar:
        bar.advance()
        bar.advance(total=2)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert [line.split(",")[0] for line in lines] == [
        "sharding: 1/3 clips",
        "sharding: 3/3 clips",
        "reading: 1 files",
        "reading: 2/2 files",
    ]
    assert lines[1].endswith("clips/s, 0:00:00 left")


def test_progress_off_a_terminal_says_little(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("sharding", 1000, "clips") as bar:
        for _ in range(1000):
            bar.advance()
    assert capsys.readouterr().err == ""


def test_quiet_leaves_warnings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.settings, "quiet", True)
    console.say("a")
    console.next_step("b")
    console.warn("c")
    assert capsys.readouterr().err == "warning: c\n"


def test_progress_on_a_terminal_is_a_bar_on_stderr() -> None:
    code = (
        "import time\n"
        "from ivvit_cli import console\n"
        "with console.progress('sharding', 4, 'clips') as bar:\n"
        "    for _ in range(4):\n"
        "        bar.advance(); time.sleep(0.15)\n"
        "console.print_text('done')\n"
    )
    leader, follower = pty.openpty()
    environment = clean_environment() | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=follower, env=environment
    )
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert done.stdout == b"done\n"
    assert "sharding" in shown
    assert "4/4" in shown
    assert "clips/s" in shown
