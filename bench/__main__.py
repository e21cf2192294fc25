"""`python -m bench [NAME …]`: run the named benchmarks, or all, each in a process of its own."""

import ast
import subprocess
import sys
from pathlib import Path

from bench.machine import describe

FOLDER = Path(__file__).parent


def benchmarks() -> list[str]:
    """Return the names of the modules here that have a `main`."""
    return [
        path.stem
        for path in sorted(FOLDER.glob("*.py"))
        if path != Path(__file__) and _has_main(path)
    ]


def _has_main(path: Path) -> bool:
    nodes = ast.parse(path.read_text()).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in nodes)


def run(names: list[str]) -> int:
    """Run benchmarks one after the other and return how many failed."""
    print(describe())
    failed = 0
    for name in names:
        print(f"\n== {name}", flush=True)
        code = f"from bench.{name} import main; main()"
        failed += subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent).returncode != 0
    return failed


if __name__ == "__main__":
    known = benchmarks()
    wanted = sys.argv[1:] or known
    if unknown := sorted(set(wanted) - set(known)):
        sys.exit(f"error: no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    sys.exit(min(run(wanted), 1))
