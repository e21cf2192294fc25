"""`ivvit predict`: the document, the table, and files that are no use."""

import json
import os

import pytest
import tiny_runs
import typer
from media import write_image

from ivvit_cli.commands.predict import predict
from ivvit_cli.errors import UsageError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("predict")
    tiny_runs.write_pictures(root / "pictures", ["ant", "bee", "cat", "dog", "eel", "fox"], 1)
    tiny_runs.write_films(root / "films", ["run", "walk"], 1)
    shards = {
        "toys": tiny_runs.make_shards("imagefolder", root / "pictures", root / "toys"),
        "films": tiny_runs.make_shards("videofolder", root / "films", root / "shards"),
    }
    tiny_runs.save_run(root / "run", shards)
    return root


def document(capsys, made, *files, **options):
    predict(list(files), ckpt=str(made / "run"), device="cpu", as_json=True, **options)
    return json.loads(capsys.readouterr().out)


def test_the_document(made, capsys):
    image, video = made / "pictures/val/bee/00.png", made / "films/val/run/00.mp4"
    results = document(capsys, made, image, video)
    assert [list(result) for result in results] == [["input", "kind", "heads"]] * 2
    assert [result["input"] for result in results] == [str(image), str(video)]
    assert [result["kind"] for result in results] == ["image", "video"]
    assert list(results[0]["heads"]) == ["toys", "films"]  # heads of its own kind first
    assert list(results[1]["heads"]) == ["films", "toys"]
    for result in results:
        assert len(result["heads"]["toys"]) == 5  # of six
        for labels in result["heads"].values():
            assert list(labels[0]) == ["label", "score"]
            scores = [entry["score"] for entry in labels]
            assert scores == sorted(scores, reverse=True)
        assert sum(entry["score"] for entry in result["heads"]["films"]) == pytest.approx(1)


def test_one_head_and_fewer_labels(made, capsys):
    (result,) = document(
        capsys, made, made / "films/val/run/00.mp4", head=["toys"], top=2, views="2x3"
    )
    assert list(result["heads"]) == ["toys"]
    assert len(result["heads"]["toys"]) == 2


def test_a_folder_and_what_is_left_out(made, tmp_path, capsys):
    write_image(tmp_path / "b.png", tiny_runs.picture(30, 40, 1))
    write_image(tmp_path / "a.jpg", tiny_runs.picture(30, 40, 2))
    (tmp_path / "readme.txt").write_text("text")
    predict([tmp_path], ckpt=str(made / "run"), device="cpu", as_json=True)
    out, err = capsys.readouterr()
    names = [os.path.basename(result["input"]) for result in json.loads(out)]  # noqa: PTH119
    assert names == ["a.jpg", "b.png"]
    assert "left out 1 file that is neither image nor video: readme.txt" in err


def test_bad_files_have_their_error_and_the_others_their_labels(made, tmp_path, capsys):
    (tmp_path / "notes.mp4").write_text("text")
    good = made / "films/val/run/00.mp4"
    with pytest.raises(typer.Exit) as caught:
        predict(
            [tmp_path / "notes.mp4", good, tmp_path / "gone.png"],
            ckpt=str(made / "run"), device="cpu", as_json=True,
        )  # fmt: skip
    out, err = capsys.readouterr()
    results = json.loads(out)
    assert [("error" in result, "heads" in result) for result in results] == [
        (True, False), (False, True), (True, False),
    ]  # fmt: skip
    first, second = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "notes.mp4: is neither an image nor a video" in first
    assert second.endswith("gone.png: no such file")
    assert caught.value.exit_code == 3


def test_the_table_is_plain_lines_on_a_pipe_and_names_are_harmless(made, tmp_path, capsys):
    odd = tmp_path / "new\nline\x1b[31m.png"
    write_image(tmp_path / "plain.png", tiny_runs.picture(30, 40, 1))
    (tmp_path / "plain.png").rename(odd)
    predict([odd], ckpt=str(made / "run"), device="cpu", top=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "head", "label", "score"]
    assert len(lines) == 1 + 2 + 2
    for line in lines[1:]:
        assert r"new\nline\x1b[31m.png" in line
        assert line.rstrip().endswith("%")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"head": ["nosuch"]}, "--head nosuch: the checkpoint has no such head"),
        ({"views": "3"}, "'3'"),
        ({"device": "gpu"}, "--device gpu"),
    ],
)
def test_usage_errors(made, options, fault):
    with pytest.raises(UsageError, match=fault):
        predict([made / "films"], ckpt=str(made / "run"), **options)


def test_the_command_line(ivvit, made, tmp_path):
    (tmp_path / "notes.txt").write_text("text")
    done = ivvit("predict", made / "films", "notes.txt", "--ckpt", made / "run", "--json")
    assert done.code == 3
    assert [result["kind"] for result in done.json] == ["video", "video", None]
    assert done.json[2].keys() == {"input", "kind", "error"}
    assert done.stderr.count("error: ") == 1


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("video", "UCF101/**/*.avi"),
        ("video", "kinetics400/**/*.mp4"),
        ("video", "something-something-v2/**/*.webm"),
        ("image", "tiny-imagenet-200/**/*.JPEG"),
        ("image", "robustness/image/exif_Landscape_6.jpg"),
        ("image", "robustness/image/libvips_indexed.png"),
    ],
)
def test_a_real_file(made, real_data, capsys, kind, pattern):
    path = next(iter(sorted(real_data.glob(pattern))))
    (result,) = document(capsys, made, path, views="2x3")
    assert result["kind"] == kind
    assert list(result["heads"]) == (["films", "toys"] if kind == "video" else ["toys", "films"])
    assert sum(entry["score"] for entry in result["heads"]["films"]) == pytest.approx(1)
