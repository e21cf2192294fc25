"""The laws of the packages: who may import whom, and what may not load before it is needed."""

import ast
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import clean_environment

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "timm", "numpy", "webdataset", "simplejpeg", "PIL", "matplotlib"}
NEVER = [  # (who, must not import)
    ("shards", "ivvit_cli"),
    ("ivvit_cli.models", "ivvit_cli.config"),
    ("ivvit_cli.models", "ivvit_cli.commands"),
    ("ivvit_cli.models", "shards"),
    ("ivvit_cli.config", "torch"),
    ("shards.convert", "shards.stream"),
    ("shards.stream", "shards.convert"),
]
MAY_IMPORT_COMMANDS = ("ivvit_cli.app", "ivvit_cli.commands")
LIGHT = (
    "ivvit_cli.__init__",
    "ivvit_cli.__main__",
    "ivvit_cli.app",
    "ivvit_cli.commands",
    "ivvit_cli.completion",
    "ivvit_cli.config",
    "ivvit_cli.console",
    "ivvit_cli.errors",
    "ivvit_cli.recipes_dir",
    "shards.__init__",
    "shards.errors",
)
HELP_CPU = 0.4  # seconds


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in ("ivvit_cli", "shards"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name, ast.parse(path.read_text())


def imports(module: str, tree: ast.AST) -> Iterator[str]:
    """Yield every module, and every name of a module, that the import statements name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [base])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def top_level(tree: ast.Module) -> ast.Module:
    """Return the statements that run on import: no function bodies, no `if TYPE_CHECKING`."""
    kept = [
        node
        for node in tree.body
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If)
    ]
    return ast.Module(kept, [])


def under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


@pytest.mark.parametrize(("who", "what"), NEVER)
def test_nobody_imports_what_the_law_forbids(who: str, what: str) -> None:
    broken = [
        f"{module} imports {name}"
        for module, tree in modules()
        if under(module, who)
        for name in imports(module, tree)
        if under(name, what)
    ]
    assert not broken


def test_only_the_app_imports_commands() -> None:
    broken = [
        f"{module} imports {name}"
        for module, tree in modules()
        if not any(under(module, who) for who in MAY_IMPORT_COMMANDS)
        for name in imports(module, tree)
        if under(name, "ivvit_cli.commands")
    ]
    assert not broken


def test_the_help_path_imports_nothing_heavy_at_top_level() -> None:
    broken = [
        f"{module} imports {name}"
        for module, tree in modules()
        if any(under(module, light) for light in LIGHT)
        for name in imports(module, top_level(tree))
        if name.split(".")[0] in HEAVY
    ]
    assert not broken


def test_the_laws_are_checked_against_real_modules() -> None:
    names = [name for name, _ in modules()]
    for prefix in {*LIGHT, *(law for pair in NEVER for law in pair if law != "torch")}:
        assert any(under(name, prefix) for name in names), prefix


def test_the_reader_of_imports_sees_every_form() -> None:
    text = "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\ndef h():\n import i"
    assert set(imports("p.q", ast.parse(text))) >= {"a.b", "c.d", "p.e", "p.f.g", "i"}
    assert "i" not in set(imports("p.q", top_level(ast.parse(text))))


COMMANDS = (
    [],
    ["shard"],
    ["data"],
    ["data", "ls"],
    ["data", "show"],
    ["data", "verify"],
    ["data", "index"],
    ["recipe"],
    ["recipe", "ls"],
    ["recipe", "show"],
    ["recipe", "cp"],
    ["recipe", "check"],
    ["train"],
    ["model"],
    ["model", "ls"],
    ["model", "info"],
    ["model", "import"],
    ["eval"],
    ["predict"],
    ["bench"],
    ["bench", "loader"],
    ["doctor"],
    ["demo"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_there_for_every_command_and_loads_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys; from ivvit_cli.app import run; code = run(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = python("-c", code, *command, "--help")
    assert done.returncode == 0
    assert "Usage: ivvit" in done.stdout
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("package", ["ivvit_cli", "shards"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    done = python("-c", f"import sys, {package}; print(*sys.modules)")
    assert not (HEAVY | {"typer", "yaml", "pydantic"}) & set(done.stdout.split())


def test_help_is_quick() -> None:
    assert min(cpu_seconds("-m", "ivvit_cli", "--help") for _ in range(3)) < HELP_CPU


def python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, env=clean_environment()
    )


def cpu_seconds(*args: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *args], check=True, stdout=subprocess.DEVNULL, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
