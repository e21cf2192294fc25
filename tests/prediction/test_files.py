"""Words of a command line to files: folders, order, and what is left out."""

import pytest
from media import write_image, write_video
from tiny_runs import film, picture

from ivvit_cli.prediction.files import find_media


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    write_image(tmp_path / "z.png", picture(20, 20, 0))
    write_image(tmp_path / "b" / "deep" / "a.jpg", picture(20, 20, 1))
    write_video(tmp_path / "b" / "clip.mp4", film(4, 32, 32, 0))
    (tmp_path / "b" / "notes.txt").write_text("not a picture")
    (tmp_path / "empty.jpg").touch()
    return tmp_path


def test_a_folder_stands_for_the_media_below_it_in_order(folder):
    files, left_out = find_media([folder])
    found = [(str(file.path.relative_to(folder)), file.kind) for file in files]
    assert found == [("b/clip.mp4", "video"), ("b/deep/a.jpg", "image"), ("z.png", "image")]
    assert [path.name for path in left_out] == ["notes.txt", "empty.jpg"]


def test_a_file_is_judged_by_its_content(folder):
    (folder / "z.png").rename(folder / "z.mp4")
    (file,) = find_media([folder / "z.mp4"])[0]
    assert file.kind == "image"


def test_named_files_keep_their_order_and_their_errors(folder):
    named = [folder / "z.png", folder / "b" / "notes.txt", folder / "gone.mp4", folder / "b"]
    files, left_out = find_media(named)
    assert [file.kind for file in files] == ["image", None, None, "video", "image"]
    assert "notes.txt: is neither an image nor a video" in files[1].error
    assert "gone.mp4: no such file" in files[2].error
    assert [path.name for path in left_out] == ["notes.txt"]


def test_a_folder_without_media_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("text")
    (file,) = find_media([tmp_path])[0]
    assert file.kind is None
    assert "holds neither image nor video" in file.error
