"""`ivvit doctor` says what is there and what blocks."""

import re
from collections.abc import Callable
from importlib import metadata

import pytest
from conftest import Result

from ivvit_cli.commands.doctor import _extras, _package

Ivvit = Callable[..., Result]


def test_a_good_machine_has_nothing_that_blocks(ivvit: Ivvit) -> None:
    done = ivvit("doctor", "--json")
    document = done.json
    findings = {finding["what"]: finding for finding in document["findings"]}
    assert done.code == 0
    assert document["ok"]
    assert findings["torch"]["detail"] == metadata.version("torch")
    assert re.search(r"\bonnx\b", findings["extras"]["detail"])
    assert {"gpu", "ffmpeg", "jpeg", "disk", "machine", "recipes", "timm"} <= set(findings)


def test_without_ffmpeg_it_exits_4_and_says_so(ivvit: Ivvit) -> None:
    done = ivvit("doctor", "--json", env={"IVVIT_FFMPEG": "/nowhere/ffmpeg"})
    findings = {finding["what"]: finding for finding in done.json["findings"]}
    assert done.code == 4
    assert not done.json["ok"]
    assert findings["ffmpeg"]["state"] == "blocks"
    assert "error: ffmpeg: not fit for ivvit" in done.stderr


@pytest.mark.parametrize(
    ("name", "least", "state"),
    [("pyyaml", "1.0", "good"), ("pyyaml", "999", "blocks"), ("no-such-package", "1", "blocks")],
)
def test_packages_are_measured_against_what_ivvit_needs(name: str, least: str, state: str) -> None:
    assert _package(name, least).state == state


def test_an_extra_is_there_when_all_of_its_packages_are() -> None:
    here, gone = "pyyaml>=1.0; extra == 'here'", 'no-such-package>=1; extra == "gone"'
    whole = _extras(["pyyaml>=1.0", here, "no-such-package>=1; extra == 'dev'"])
    assert (whole.state, whole.detail) == ("good", "here")
    half, old = "pyyaml>=1.0; extra == 'gone'", "pyyaml>=999; extra == 'old'"
    lacking = _extras([gone, half, here, old])
    assert lacking.state == "note"
    assert lacking.detail == "here; not there: gone, old (pip install 'ivvit[gone]')"
    assert _extras([gone]).detail == "none; not there: gone (pip install 'ivvit[gone]')"
