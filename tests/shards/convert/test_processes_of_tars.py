"""Processes that walk tars give results in order, and none outlives what started it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import clean_environment

from shards.convert.foreign.processes import each_tar
from shards.errors import EnvironmentFault

WAIT = "import time; from shards.convert.foreign.processes import each_tar as e\n"
WAIT += "if __name__ == '__main__': list(e(time.sleep, [99, 99], 2))"


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition) -> bool:
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc here")
def test_they_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "wait.py"
    script.write_text(WAIT)
    parent = subprocess.Popen([sys.executable, script], env=clean_environment())
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")

    def workers() -> list[int]:
        found = [int(pid) for pid in children.read_text().split()]
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found}
        return [pid for pid, command in commands.items() if b"spawn_main" in command]

    assert until(lambda: len(workers()) == 2)
    left = workers()
    time.sleep(1)  # for their interpreters to have started
    parent.kill()
    parent.wait()
    assert until(lambda: not any(map(running, left)))


def test_order_and_a_process_that_dies() -> None:
    assert list(each_tar(abs, [-3, -2, -1], 2)) == [3, 2, 1]
    with pytest.raises(EnvironmentFault, match="was killed"):
        list(each_tar(os._exit, [1, 1], 2))
