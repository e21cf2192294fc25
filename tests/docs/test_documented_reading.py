"""The reader of the documents finds every command, also behind prompts and in loops."""

import documented
import pytest

PAGE = """\
# A page

Some `ivvit data ls` in the text, and [a link](other.md#part).

```sh
ivvit train --recipe a  # a comment, with an apostrophe's sign
ivvit eval RUN \\
  --views 1x1 && ivvit report RUN > page.txt
for i in 0 1; do ivvit shard csv x --part $i/2; done
```

```console
$ ivvit predict a.mp4
file  label
```

    ivvit doctor
    what this prints is no command

```yaml
# mine.yaml
extends: a
```

```
ivvit data ls
made of words
```
"""
FOUND = [
    (6, [["ivvit", "train", "--recipe", "a"]]),
    (7, [["ivvit", "eval", "RUN", "--views", "1x1"], ["ivvit", "report", "RUN"]]),
    (9, [["ivvit", "shard", "csv", "x", "--part", f"{i}/2"] for i in (0, 1)]),
    (13, [["ivvit", "predict", "a.mp4"]]),
    (17, [["ivvit", "doctor"]]),
    (26, [["ivvit", "data", "ls"]]),
]


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_every_command_is_found_where_it_stands(page):
    found = [(each.line, list(each.simple())) for each in documented.commands(page)]
    assert found == FOUND


def test_the_rest_is_text(page):
    assert list(documented.spans(page)) == ["ivvit data ls"]
    assert list(documented.links(page)) == ["other.md#part"]
    assert dict(documented.files(page)) == {"mine.yaml": "extends: a\n"}
    assert documented.anchors(page) == {"a-page"}
