"""What the README and the guides say: their shell commands, files, links and options."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELLS = ("sh", "bash", "shell", "console")
PROGRAMS = ("ivvit", "torchrun", "python", "python3", "pip", "make", "git", "srun", "sbatch")

_FENCE = re.compile(r" *```(\w*)")
_LOOP = re.compile(r"for (\w+) in (.+?); do (.+?); done")


@dataclass(frozen=True)
class Block:
    """A block of code: its page, the number of its first line, its language, its lines."""

    page: Path
    start: int
    language: str  # "" without one, "indented" of a block by indentation
    lines: list[str]


@dataclass(frozen=True)
class Command:
    """A line of a shell block, with those that it continues on."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        words = " ".join(shlex.split(self.text, comments=True))
        return f"{self.page.relative_to(ROOT)}:{self.line} {words}"

    def simple(self) -> Iterator[list[str]]:
        """Yield the words of every command in the line, of a loop those of each turn.

        A file behind a redirection is left out; `$NAME` stays, but for a loop's own.
        """
        if loop := _LOOP.fullmatch(self.text.strip()):
            name, values, body = loop.groups()
            for value in shlex.split(values):
                yield from Command(self.page, self.line, body.replace(f"${name}", value)).simple()
            return
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set("<>"):
                next(lexer)
            elif set(word) <= set(";&|"):
                yield words
                words = []
            else:
                words.append(word)
        yield words


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of code of a page in their order."""
    language, start, inside = None, 0, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if language == "indented" and line and not line.startswith("    "):
            yield Block(page, start, language, inside)
            language = None
        if fence and language is None:
            language, start, inside = fence[1], number + 1, []
        elif fence and language != "indented":
            yield Block(page, start, language, inside)
            language = None
        elif language is None and line.startswith("    "):
            language, start, inside = "indented", number, [line]
        elif language is not None:
            inside.append(line)
    if language is not None:
        yield Block(page, start, language, inside)


def commands(page: Path) -> Iterator[Command]:
    """Yield every shell command of a page.

    All lines of a block in sh, bash or console are commands (of the last, those after `$ `); of a
    block of text or without a language, those that begin with a program's name.
    """
    for block in blocks(page):
        if block.language not in (*SHELLS, "", "text", "indented"):
            continue
        prompted = any(line.lstrip().startswith("$ ") for line in block.lines)
        whole = ""
        for number, raw in enumerate(block.lines, block.start):
            if prompted and not whole and not raw.lstrip().startswith("$ "):
                continue
            line = raw.strip().removeprefix("$ ")
            if not whole:
                first = number
            whole += line.removesuffix("\\")
            if line.endswith("\\"):
                continue
            if _is_command(whole, block.language):
                yield Command(page, first, whole)
            whole = ""


def _is_command(line: str, language: str) -> bool:
    words = shlex.split(line, comments=True) if language in SHELLS else line.split()
    return bool(words) and (language in SHELLS or words[0] in PROGRAMS)


def files(page: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of every block whose first line is a comment with a file's name."""
    for block in blocks(page):
        first = block.lines[0].strip() if block.lines else ""
        name = re.fullmatch(r"# ([\w.-]+\.(?:ya?ml|csv|txt))", first)
        if name:
            yield name[1], textwrap.dedent("\n".join(block.lines[1:])) + "\n"


def prose(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    lines = page.read_text().splitlines()
    for block in blocks(page):
        fence = block.language != "indented"
        for number in range(block.start - fence, block.start + len(block.lines) + fence):
            lines[number - 1] = ""
    return "\n".join(lines)


def links(page: Path) -> Iterator[str]:
    """Yield the target of every link and image."""
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(page))


def spans(page: Path) -> Iterator[str]:
    """Yield every span of code within the text."""
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page)))


def anchors(page: Path) -> set[str]:
    """Return what a link into a page may point at: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}
