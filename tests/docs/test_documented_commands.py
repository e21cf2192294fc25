"""Every shell command of the README and the guides runs, and every link and option is there."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doc_world import World, make_base
from documented import PAGES, ROOT, Command, anchors, commands, files, links, spans
from torch.distributed.run import get_args_parser
from typer.main import get_command

from ivvit_cli import app

# What these tests do not run, by its first words, and why.
NOT_RUN = {
    ". .venv/bin/activate": "changes a shell, and does nothing else",
    "python3 -m venv": "takes minutes and a network",
    ".venv/bin/pip install": "takes minutes and a network",
    ".venv/bin/ivvit demo": "takes minutes; tests/demo runs it in small",
    "sbatch": "needs Slurm; what the batch files say is run",
}
TASKS = ("0", "1")  # of a batch job: $SLURM_ARRAY_TASK_ID
OF_OTHERS = {"--array": "sbatch"}  # options in the text that are not ours
COMMANDS = [command for page in PAGES for command in commands(page)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with small shards and a run."""
    base = tmp_path_factory.mktemp("documents")
    make_base(base)
    return base


@pytest.fixture(scope="module")
def worlds(base: Path) -> dict[Path, World]:
    """Return a working directory for each page, with the files that the page shows."""
    made = {}
    for page in PAGES:
        made[page] = World(base / page.stem, base)
        for name, text in files(page):
            (base / page.stem / name).write_text(text)
    return made


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_documented_command_runs(command: Command, base, worlds, monkeypatch) -> None:
    world = worlds[command.page]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.chdir(base / command.page.stem)
    for words in command.simple():
        if any(" ".join(words).startswith(prefix) for prefix in NOT_RUN):
            continue
        for task in TASKS if "SLURM_ARRAY_TASK_ID" in command.text else TASKS[:1]:
            run([word.replace("$SLURM_ARRAY_TASK_ID", task) for word in words], world)


def run(words: list[str], world: World) -> None:
    """Run a command, or as much of it as can be run here."""
    match words:
        case ["make", *targets]:
            subprocess.run(["make", "-n", *targets], cwd=ROOT, check=True, capture_output=True)
        case ["find", *_]:  # what it prints, the next command reads
            sys.stdin = io.TextIOWrapper(io.BytesIO(world.find(words)))
        case ["srun", "env", "--ignore-signal=USR1", *rest]:
            run(rest, world)
        case ["torchrun", *rest]:  # in one process
            run(["ivvit", *launched(rest)], world)
        case ["ivvit", *rest]:
            args = world.translate(rest)
            assert app.run(args) == 0, f"ivvit {' '.join(args)}"
        case _:
            pytest.fail(f"{words[0]}: neither run nor in NOT_RUN")


def launched(words: list[str]) -> list[str]:
    """Return the words of the `ivvit` command that torchrun's own parser leaves."""
    launch = get_args_parser().parse_args(words)
    assert (launch.module, launch.training_script) == (True, "ivvit_cli")
    return launch.training_script_args


def test_what_is_not_run_is_documented() -> None:
    texts = [" ".join(words) for command in COMMANDS for words in command.simple()]
    assert [prefix for prefix in NOT_RUN if not any(t.startswith(prefix) for t in texts)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_text_names_commands_and_options_that_exist(page: Path) -> None:
    unknown = []
    for span in spans(page):
        first, *rest = span.split()
        if first == "ivvit":
            unknown += [f"{span}: {fault}" for fault in faults(rest)]
        elif first == "torchrun" and rest:
            unknown += [f"{span}: {fault}" for fault in faults(launched(rest))]
        elif first.startswith("--"):
            name = first.partition("=")[0]
            unknown += [span] if name not in ALL_OPTIONS and name not in OF_OTHERS else []
    assert unknown == []


def faults(words: list[str]) -> list[str]:
    """Return the words after `ivvit` that are no command, or no option of the command."""
    tree = get_command(app.app)
    while words and hasattr(tree, "commands") and not words[0].startswith("-"):
        if words[0] not in tree.commands:
            return [words[0]] if words[0].isascii() else []  # the sign … stands for any
        tree, words = tree.commands[words[0]], words[1:]
    return [word for word in words if word.startswith("--") and word not in options(tree)]


def options(tree: Any) -> set[str]:
    """Return the options of a command and of those below it."""
    own = {name for param in tree.params for name in (*param.opts, *param.secondary_opts)}
    return own.union({"--help"}, *map(options, getattr(tree, "commands", {}).values()))


ALL_OPTIONS = options(get_command(app.app))


def helps(tree: Any) -> Iterator[str]:
    """Yield the help of a command and of those below it."""
    yield tree.help or ""
    for command in getattr(tree, "commands", {}).values():
        yield from helps(command)


def test_the_examples_of_every_command_name_options_that_exist() -> None:
    texts = [text.partition("Examples:")[2] for text in helps(get_command(app.app))]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    unknown = []
    for line in lines:
        for words in Command(ROOT, 0, line).simple():
            rest = launched(words[1:]) if words[0] == "torchrun" else words[1:]
            unknown += [f"{line}: {fault}" for fault in faults(rest) if words[0] != "find"]
    assert len(lines) > 50
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_images_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    for name in re.findall(r"\b(?:docs|recipes)/[\w./-]+\.(?:md|yaml)\b", page.read_text()):
        broken += [] if (ROOT / name).exists() else [name]
    assert broken == []


def test_every_guide_is_listed_in_the_readme() -> None:
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= {
        link.partition("#")[0] for link in links(PAGES[0])
    }
