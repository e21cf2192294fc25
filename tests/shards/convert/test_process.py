"""Bounds on a subprocess: time, memory, output, and no deadlock on its logs."""

import subprocess
import sys
import tempfile
import time

import pytest

from shards.convert.process import LimitExceeded, Limits, run_bounded
from shards.errors import EnvironmentFault

LIMITS = Limits(seconds=20, memory=2 << 30, output=1 << 20)


def python(code: str):
    return lambda side: [sys.executable, "-c", f"SIDE = {side}\n{code}"]


def test_all_three_outputs_come_back_whole() -> None:
    code = (
        "import os, sys\n"
        "os.write(SIDE, b's' * 300000); sys.stderr.write('e' * 300000)\n"
        "sys.stdout.write('o' * 300000); sys.exit(3)"
    )
    done = run_bounded(python(code), LIMITS)
    assert (done.code, len(done.output), len(done.errors), len(done.side)) == (3, *[300_000] * 3)


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import os, time; os.close(1); time.sleep(60)",
        "import time\nwhile True: print('x', flush=True); time.sleep(0.05)",
    ],
)
def test_a_process_that_takes_too_long_is_killed(code: str) -> None:
    begin = time.monotonic()
    with pytest.raises(LimitExceeded, match="more than 1 s"):
        run_bounded(python(code), Limits(seconds=1))
    assert time.monotonic() - begin < 40


def test_a_process_that_writes_too_much_is_killed() -> None:
    with pytest.raises(LimitExceeded, match="more than 1 MiB"):
        run_bounded(python("while True: print('x' * 1000)"), LIMITS)


def test_a_lower_limit_of_the_machine_stays() -> None:
    code = (
        "import resource, sys\n"
        "from shards.convert.process import Limits, run_bounded\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "show = 'import resource, time; time.sleep(0.5); print(resource.getrlimit(9)[1])'\n"
        "done = run_bounded(lambda _: [sys.executable, '-c', show], Limits())\n"
        "sys.exit(int(done.output) != 3 << 30)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_program_that_is_not_there_is_the_machine_s_fault() -> None:
    with pytest.raises(EnvironmentFault, match="No such file or directory: '/no/ffmpeg'"):
        run_bounded(lambda _: ["/no/ffmpeg"], LIMITS)


def test_a_full_folder_for_temporary_files_takes_nothing_away(monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/folder")
    done = run_bounded(python("import os; os.write(SIDE, b'times')"), LIMITS)
    assert (done.code, done.side) == (0, b"times")


def test_memory_is_limited() -> None:
    code = "import time; time.sleep(0.5); bytearray(3 << 30)"
    done = run_bounded(python(code), LIMITS)
    assert done.code == 1
    assert "MemoryError" in done.errors
