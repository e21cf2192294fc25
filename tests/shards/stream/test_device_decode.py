"""Decoding in batches for a device: the CPU's batches and views, whoever decodes the JPEGs."""

import numpy as np
import pytest
import torch
from naive_shards import picture, write_shards

from shards import open_dataset
from shards.errors import EnvironmentFault, InputError
from shards.stream import device
from shards.stream.device import DeviceDecoder, Encoded
from shards.stream.loader import TrainStream, UpdateLoader
from shards.stream.plan import Plan
from shards.stream.views import ViewLoader, Views

CLIP = {"sample": "window", "length": 4, "seconds": 0.4}
SIZE = 32


def together(data):
    """What nvJPEG does, by the CPU: all at once."""
    decoders = pytest.importorskip("torchcodec.decoders", reason="needs torchcodec")
    return decoders.decode_jpeg(data, mode="RGB")


@pytest.fixture
def videos(tmp_path):
    samples = [
        (f"v{i}", i % 2, [picture(40 + i, 56 - i, 20 * i + t) for t in range(2 + 3 * i)])
        for i in range(7)
    ]
    return open_dataset(write_shards(tmp_path / "videos", samples, kind="video"))["train"]


def images(folder, codec):
    samples = [(f"i{k}", k % 2, [picture(20 + k, 30 - k, k)]) for k in range(11)]
    return open_dataset(write_shards(folder, samples, name="pics", codec=codec))["train"]


def batches(split, decoder, steps=5, **options):
    clip = CLIP if split.kind == "video" else {}
    stream = TrainStream(split, Plan("toy", len(split), 4, 0), SIZE, **clip)
    updates = ({"toy": step} for step in range(steps))
    with UpdateLoader({"toy": stream}, updates, decoder=decoder, **options) as loader:
        return [update["toy"] for update in loader]


def rendered(batch):
    return batch.render(SIZE, (0, 0, 0), (1 / 255,) * 3)


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize(("rank", "world"), [(0, 1), (2, 3)])
def test_the_batches_are_those_of_the_cpu(videos, threads, rank, world):
    place, decoder = {"rank": rank, "world": world}, DeviceDecoder("cpu", together)
    decoder.empty = lambda shape: torch.full(shape, 255, dtype=torch.uint8)
    ours = batches(videos, decoder, threads=threads, **place)
    for batch, plain in zip(ours, batches(videos, None, **place), strict=True):
        assert batch.keys == plain.keys
        assert (batch.frames.int() - plain.frames.int()).abs().max() < 3  # padding and fillers, too
        assert (rendered(batch) - rendered(plain)).abs().max() < 1e-2


@pytest.mark.parametrize("codec", ["jpg", "png", "ppm"])
def test_images_of_every_codec(tmp_path, codec):
    split, calls = images(tmp_path, codec), []
    decoder = DeviceDecoder("cpu", lambda data: calls.append(len(data)) or together(data))
    for batch, plain in zip(batches(split, decoder), batches(split, None), strict=True):
        assert (rendered(batch) - rendered(plain)).abs().max() < 1e-2
    assert calls == ([4] * 5 if codec == "jpg" else [])  # a batch at once, and no other codec


def test_codecs_may_be_mixed_and_the_order_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "_TOGETHER", 4)
    calls = []
    decoder = DeviceDecoder("cpu", lambda data: calls.append(len(data)) or together(data))
    splits = [images(tmp_path / codec, codec) for codec in ("jpg", "png", "ppm")]
    order = np.random.default_rng(0).permutation(33).tolist()
    chosen = [(splits[k % 3], k // 3) for k in order]
    decoded = decoder.decode([Encoded(split, i, split.read(i)[0]) for split, i in chosen])
    assert calls == [4, 4, 3]
    for (split, i), frame in zip(chosen, decoded, strict=True):
        (plain,) = split.pixels(i)
        assert frame.shape == plain.shape
        assert (frame.int() - torch.from_numpy(plain.astype(int))).abs().max() == 0


def test_views_are_those_of_the_cpu(videos):
    def looked(decoder):
        loader = ViewLoader(videos, views=Views(3, 3), size=SIZE, decoder=decoder, **CLIP)
        return [(sample.key, sample.render(SIZE, (0, 0, 0), (1 / 255,) * 3)) for sample in loader]

    for ours, plain in zip(looked(DeviceDecoder("cpu", together)), looked(None), strict=True):
        assert ours[0] == plain[0]
        assert (ours[1] - plain[1]).abs().max() < 1e-2


def test_what_the_batch_decoder_refuses_is_decoded_one_by_one(videos):
    def refuse(data):
        raise RuntimeError("nvjpegDecode failed: 4")

    for batch, plain in zip(
        batches(videos, DeviceDecoder("cpu", refuse)), batches(videos, None), strict=True
    ):
        assert rendered(batch).equal(rendered(plain))


def test_no_memory_is_no_fault_of_a_frame(videos):
    def exhaust(data):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        batches(videos, DeviceDecoder("cpu", exhaust))


@pytest.mark.parametrize("damage", ["header", "end"])
def test_a_damaged_frame_names_its_sample(videos, damage):
    data = bytearray(videos.read(4, [0])[0])
    data[slice(0, 100) if damage == "header" else slice(len(data) // 2, None)] = b""
    frame = Encoded(videos, 4, bytes(data))
    sound = Encoded(videos, 3, videos.read(3, [0])[0])
    with pytest.raises(InputError, match=r"toy: toy-train-000001\.tar: sample v4: "):
        DeviceDecoder("cpu", together).decode([sound, frame])


def test_a_frame_that_is_cut_short_is_not_left_to_a_lenient_decoder(videos):
    data = videos.read(4, [0])[0]
    decoder = DeviceDecoder("cpu", lambda data: [torch.zeros(3, 44, 52) for _ in data])
    decoder.decode([Encoded(videos, 4, data)])
    with pytest.raises(InputError, match="sample v4: not a readable jpg frame"):
        decoder.decode([Encoded(videos, 4, data[:-100])])


def test_a_frame_of_another_size_than_recorded(videos):
    frame = Encoded(videos, 4, videos.read(3, [0])[0])
    with pytest.raises(InputError, match=r"sample v4: a frame is \(53, 43\) wide and high"):
        DeviceDecoder("cpu", together).decode([frame])


def test_a_gpu_is_needed():
    with pytest.raises(EnvironmentFault, match="cannot be decoded on a GPU: this runs on cpu"):
        DeviceDecoder("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_decoder_that_decodes_nothing_is_no_decoder():
    """It would leave all to the CPU, one frame after the other."""
    pytest.importorskip("torchcodec.decoders", reason="needs torchcodec")
    with pytest.raises(EnvironmentFault, match="nvJPEG fails") as caught:
        DeviceDecoder("cuda")
    assert caught.value.hint == "loader.decode=cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nvjpeg_gives_nearly_the_pixels_of_the_cpu(videos):
    decoder = DeviceDecoder("cuda")
    for batch, plain in zip(batches(videos, decoder), batches(videos, None), strict=True):
        assert batch.frames.is_cuda
        difference = (rendered(batch.to("cuda")).cpu() - rendered(plain)).abs()
        assert difference.mean() < 1.5
        assert difference.max() < 16
