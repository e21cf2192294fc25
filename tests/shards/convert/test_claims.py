"""Claims on parts: who excludes whom, and when a holder is gone."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shards.convert import claims
from shards.convert.claims import bury_dead, claim
from shards.errors import InputError

HOLD = """
import sys, time
from pathlib import Path
from shards.convert.claims import claim
with claim(Path(sys.argv[1]), sys.argv[2], "plan"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held(folder: Path, part: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that has a part, and that gives it back at the end."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, folder, part], **pipes) as child:
        assert child.stdout.readline() == "held\n"
        yield child
        child.communicate("end\n")


def elsewhere(folder: Path, part: str, plan: str = "plan") -> Path:
    """Write the claim of a process on another machine."""
    path = folder / f".{part.replace('/', '-of-')}.claim"
    holder = {"part": part, "plan": plan, "host": "node7", "machine": "another"}
    path.write_text(json.dumps(holder | {"process": 1, "started": "1"}))
    return path


def test_a_claim_is_there_while_it_is_held(tmp_path: Path) -> None:
    with claim(tmp_path, "0/2", "plan"), claim(tmp_path, "1/2", "plan"):
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [".0-of-2.claim", ".1-of-2.claim"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("has", "wanted", "plan"),
    [
        ("0/2", "0/2", "plan"),
        ("0/2", "all", "plan"),
        ("all", "0/2", "plan"),
        ("all", "all", "plan"),
        ("finish", "all", "plan"),
        ("0/2", "1/2", "another plan"),
    ],
)
def test_what_excludes_each_other_is_refused(tmp_path, has: str, wanted: str, plan: str) -> None:
    with held(tmp_path, has) as child:
        message = f"another conversion is writing into it: .*{child.pid}"
        with pytest.raises(InputError, match=message), claim(tmp_path, wanted, plan):
            pass
    assert child.returncode == 0
    with claim(tmp_path, wanted, plan):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    for number in range(2):
        with held(tmp_path, f"{number}/2") as child:
            child.kill()
    with claim(tmp_path, "0/2", "another plan"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".1-of-2.claim"]
    assert bury_dead(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_number_that_was_given_again_holds_nothing(tmp_path: Path) -> None:
    with held(tmp_path, "0/2"):
        path = tmp_path / ".0-of-2.claim"
        holder = json.loads(path.read_text())
        path.write_text(json.dumps(holder | {"started": "1"}))
        with claim(tmp_path, "0/2", "plan"):
            pass


def test_a_claim_of_another_machine_holds_while_it_is_renewed(tmp_path: Path) -> None:
    path = elsewhere(tmp_path, "0/2")
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(0.05):
            os.utime(path)

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        message = "part 0/2, process 1 on node7"
        with pytest.raises(InputError, match=message), claim(tmp_path, "0/2", "plan"):
            pass
        assert not bury_dead(tmp_path)
    finally:
        stop.set()
        renewing.join()


@pytest.mark.parametrize("part", ["0/2", "all"])
def test_a_claim_of_another_machine_that_is_not_renewed_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(claims, "SILENCE", 1.5)
    elsewhere(tmp_path, "0/2")
    start = time.monotonic()
    with claim(tmp_path, part, "plan"):
        assert time.monotonic() - start > 1
    old = elsewhere(tmp_path, "1/2")
    os.utime(old, (1, 1))
    assert bury_dead(tmp_path)


def test_a_claim_is_renewed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "PERIOD", 0.05)
    with claim(tmp_path, "0/2", "plan"):
        path = tmp_path / ".0-of-2.claim"
        before = path.stat().st_mtime_ns
        deadline = time.monotonic() + 20
        while path.stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_holder_that_lost_its_claim_leaves_the_next_ones(tmp_path: Path) -> None:
    with claim(tmp_path, "0/2", "plan"):
        path = elsewhere(tmp_path, "0/2")
    assert path.exists()


@pytest.mark.parametrize("make", [lambda path: path.write_text("{"), os.mkfifo])
def test_what_is_no_claim_keeps_nobody_out(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".0-of-2.claim")
    with claim(tmp_path, "0/2", "plan"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_was_taken_over_meanwhile_is_not_buried(tmp_path: Path) -> None:
    path = elsewhere(tmp_path, "0/2")
    dead = claims._holder(path)
    path.unlink()
    with claim(tmp_path, "0/2", "plan"):
        claims._bury(path, dead)
        assert path.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_process_killed_while_it_buries_keeps_nobody_out(tmp_path: Path) -> None:
    for path in (elsewhere(tmp_path, "0/2"), tmp_path / "..0-of-2.claim.0.tmp"):
        path.touch()
        os.utime(path, (1, 1))
    with claim(tmp_path, "0/2", "plan"):
        assert [path.name for path in tmp_path.iterdir()] == [".0-of-2.claim"]


def test_of_many_that_begin_at_once_one_gets_the_part(tmp_path: Path) -> None:
    elsewhere(tmp_path, "0/2")
    os.utime(tmp_path / ".0-of-2.claim", (1, 1))  # a dead one, which all want to bury
    barrier, owners = threading.Barrier(6), []

    def take() -> None:
        barrier.wait()
        try:
            with claim(tmp_path, "0/2", "plan"):
                owners.append(True)
                barrier.wait()
        except InputError:
            barrier.wait()

    takers = [threading.Thread(target=take) for _ in range(6)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert owners == [True]
