"""Every file of a collection of odd and broken media: converted to what, or left out why.

The files are those of $IVVIT_TEST_DATA/robustness, from the tests of Pillow, libvips, decord,
torchcodec, ExoPlayer and others. Companions on generated data: test_odd_videos.py,
test_image.py, test_hostile_images.py, test_hostile_videos.py.
"""

import json
import tarfile
from pathlib import Path

import pytest
from hostile import faults, run_ivvit

from shards.convert.verify import verify

NO_IMAGE, NO_VIDEO = "is not an image of an allowed format", "a video of an allowed format"
Expected = tuple[int, int, int] | str  # width, height, frames; or a part of the reason

# Files that are not named are of another kind, and left out as such.
IMAGES: dict[str, Expected] = {
    "derived/truncated_tin_first900.JPEG": "Premature end",
    "derived/zero_byte.avi": "is empty",
    "derived/zero_byte.jpg": "is empty",
    "derived/zero_byte.mp4": "is empty",
    "image/exif_Landscape_1.jpg": (1800, 1200, 1),
    "image/exif_Landscape_6.jpg": (1800, 1200, 1),
    "image/libvips_indexed.png": (290, 442, 1),
    "image/libvips_looks-like-svg.webp": (256, 256, 1),
    "image/libvips_truncated.gif": "cannot be decoded",
    "image/libvips_ultra-hdr.jpg": (3840, 2160, 1),
    "image/pillow_1_trns.png": (64, 64, 1),
    "image/pillow_apng_mode_palette_alpha.png": (128, 64, 1),
    "image/pillow_broken_data_stream.png": "cannot be decoded",
    "image/pillow_exif-dpi-zerodivision.jpg": (200, 200, 1),
    "image/pillow_flower.webp": (480, 360, 1),
    "image/pillow_hopper.bmp": (128, 128, 1),
    "image/pillow_hopper.tif": (128, 128, 1),
    "image/pillow_hopper_16bit_qtables.jpg": (128, 128, 1),
    "image/pillow_hopper_gray.jpg": (128, 128, 1),
    "image/pillow_hopper_orientation_6.jpg": (128, 128, 1),
    "image/pillow_i_trns.png": (64, 64, 1),
    "image/pillow_iss634.gif": (245, 245, 1),
    "image/pillow_no_palette.gif": (1, 1, 1),
    "image/pillow_p_16.png": (128, 128, 1),
    "image/pillow_pil123rgba.png": (162, 150, 1),
    "image/pillow_rgb_trns.png": (64, 64, 1),
    "image/pillow_transparent.gif": (200, 150, 1),
    "image/pillow_truncated_end_chunk.png": "cannot be decoded",
    "image/pillow_truncated_jpeg.jpg": "Premature end",
    "image/pillow_xmp_tags_orientation.png": (326, 268, 1),
    "image/small_png-truncated.png": (1, 1, 1),
    "video/imageio_newtonscradle.gif": (200, 150, 1),
}
VIDEOS: dict[str, Expected] = {
    "derived/truncated_k400_first300k.mp4": "moov atom",
    "derived/truncated_ucf_first60k.avi": "is cut short or damaged",
    "derived/webm_named_as.mp4": (427, 240, 47),
    "derived/zero_byte.avi": "is empty",
    "derived/zero_byte.jpg": "is empty",
    "derived/zero_byte.mp4": "is empty",
    "image/libvips_truncated.gif": "is cut short or damaged",
    "image/pillow_iss634.gif": (245, 245, 42),
    "image/pillow_no_palette.gif": "is cut short or damaged",
    "image/pillow_transparent.gif": (200, 150, 1),
    "image/small_gif.gif": "holds no frame",
    "video/decord_corrupted.mp4": "is cut short or damaged",
    "video/decord_unordered.mov": (50, 50, 4),
    "video/decord_video_180.mov": (568, 320, 3),
    "video/decord_video_90.mov": (320, 568, 3),
    "video/exoplayer_invalid-bitstream.webm": "is cut short or damaged",
    "video/imageio_cockatoo.mp4": (568, 320, 280),
    "video/imageio_newtonscradle.gif": (200, 150, 36),
    "video/imageio_test.webm": (426, 320, 94),
    "video/media3_edit_list_positive_shift.mp4": (568, 320, 270),
    "video/media3_hdr10-av1.mp4": (320, 568, 127),
    "video/media3_iibbibb_editlist_videoonly.mp4": (392, 320, 12),
    "video/media3_sample.avi": (768, 320, 96),
    "video/media3_sample.mp4": (480, 320, 30),
    "video/media3_sample_with_htc_rotation_track_name.mkv": (480, 320, 30),
    "video/mp4parse_bbb_sunflower_QCIF_30fps_mp4v_noaudio_1f.mp4": (176, 99, 1),
    "video/mp4parse_invalid_userdata.mp4": "is cut short or damaged",
    "video/mp4parse_zero_empty_stsc.mp4": "is cut short or damaged",
    "video/scikitvideo_carphone_distorted.mp4": (176, 132, 120),
    "video/small_AudioVideoInterleave.avi": "is cut short or damaged",
    "video/small_mp4-with-audio.mp4": "holds no video stream",
    "video/torchcodec_av1_video.mkv": (568, 320, 125),
    "video/torchcodec_h264_10bits.mp4": (200, 200, 30),
    "video/torchcodec_h265_video.mp4": (128, 128, 10),
}


def outcomes(folder: Path) -> dict[str, Expected]:
    """Return what became of each source: its size and frames, or the reason."""
    rows = map(json.loads, (folder / "skipped.jsonl").read_text().splitlines())
    found: dict[str, Expected] = {row["source"]: row["reason"] for row in rows}
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                if name.endswith(".json"):
                    about = json.load(tar.extractfile(name))
                    size = about["width"], about["height"], about.get("frames", 1)
                    found[about["source"]] = size
    return found


@pytest.mark.parametrize(
    ("source", "expected", "otherwise", "written"),
    [("imagefolder", IMAGES, NO_IMAGE, 24), ("videofolder", VIDEOS, NO_VIDEO, 20)],
)
def test_each_file_is_converted_or_left_out_for_its_reason(
    real_data, tmp_path, source, expected, otherwise, written
) -> None:
    root = real_data / "robustness"
    outcome = run_ivvit("shard", source, root, "-o", "out", cwd=tmp_path)
    assert faults(outcome, codes=(0,)) == []
    found = outcomes(tmp_path / "out")
    assert found.keys() == {path.relative_to(root).as_posix() for path in root.glob("*/*")}
    assert expected.keys() <= found.keys()
    for name, result in found.items():
        wanted = expected.get(name, otherwise)
        fits = wanted in result if isinstance(result, str) else wanted == result
        assert fits, (name, wanted, result)
        assert str(root) not in str(result)
    assert sum(not isinstance(result, str) for result in found.values()) == written
    assert verify(tmp_path / "out").ok
