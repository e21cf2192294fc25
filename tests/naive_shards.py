"""An independent, naive writer of shards, straight from the format's description."""

import hashlib
import io
import json
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import simplejpeg
import webdataset
from PIL import Image

from shards.index import CODECS, FRAME, SAMPLE, write_index
from shards.manifest import DatasetInfo, ShardInfo, SplitInfo, write_dataset_info


def encode(pixels, codec):
    """Encode uint8 (H, W, 3) pixels as jpg, png or ppm."""
    height, width, _ = pixels.shape
    if codec == "jpg":
        return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=95)
    if codec == "ppm":
        return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def picture(height, width, seed):
    """A smooth random picture, so that a JPEG of it is close to it."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def numbered(height, width, number):
    """A grey frame that tells its number, 0 to 250, in every pixel."""
    return np.full((height, width, 3), number, np.uint8)


def write_shards(
    folder,
    samples,
    *,
    name="toy",
    kind="image",
    classes=("a", "b"),
    codec="jpg",
    fps=25.0,
    layout="mjpg",
    per_shard=3,
    split="train",
    flip_unsafe=(),
):
    """Write `samples`, a list of (key, label, frames as pixels), as a finished folder of shards."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, places, shards = [], [], []
    for start in range(0, len(samples), per_shard):
        chunk = samples[start : start + per_shard]
        path = folder / f"{name}-{split}-{len(shards):06d}.tar"
        _write_tar(path, chunk, kind, classes, codec, fps, layout)
        found = _frame_places(path, kind, layout)
        for key, label, frames in chunk:
            height, width, _ = frames[0].shape
            place = (len(places), len(frames), label, len(shards), CODECS.index(codec))
            rows.append((key.encode(), *place, width, height, fps if kind == "video" else 0.0))
            places += found[key]
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        shards.append(ShardInfo(file=path.name, samples=len(chunk), bytes=len(data), sha256=digest))
    index = folder / f"{name}-{split}.index"
    write_index(index, {}, np.array(rows, SAMPLE), np.array(places, FRAME))
    info = SplitInfo(
        samples=len(rows),
        frames=len(places),
        bytes=sum(shard.bytes for shard in shards),
        index=index.name,
        index_sha256=hashlib.sha256(index.read_bytes()).hexdigest(),
        shards=tuple(shards),
        listed=len(rows),
        written=len(rows),
        missing=0,
        skipped=0,
    )
    dataset = DatasetInfo(
        name=name,
        kind=kind,
        classes=classes,
        class_source="test",
        splits={split: info},
        options={"layout": layout},
        tools={},
        flip_unsafe=flip_unsafe,
    )
    write_dataset_info(folder, dataset)
    return folder


def _write_tar(path, samples, kind, classes, codec, fps, layout):
    with webdataset.TarWriter(str(path), mtime=0, format=tarfile.USTAR_FORMAT) as writer:
        for key, label, frames in samples:
            writer.write(_members(key, label, frames, kind, classes, codec, fps, layout))


def _members(key, label, frames, kind, classes, codec, fps, layout):
    height, width, _ = frames[0].shape
    about = {"label": label, "class": classes[label], "width": width, "height": height}
    encoded = [encode(frame, codec) for frame in frames]
    members = {"__key__": key, "cls": str(label).encode()}
    if kind == "image":
        members[codec] = encoded[0]
    elif layout == "mjpg":
        members["mjpg"] = b"".join(encoded)
        offsets = np.cumsum([0, *(len(data) for data in encoded)]).tolist()
        about |= {"frames": len(frames), "fps": fps, "offsets": offsets}
    else:
        members |= {f"{number:06d}.jpg": data for number, data in enumerate(encoded)}
        about |= {"frames": len(frames), "fps": fps}
    return members | {"json": json.dumps(about).encode()}


def _frame_places(path, kind, layout):
    places, about = {}, {}
    with tarfile.open(path) as tar:
        members = sorted(tar.getmembers(), key=lambda member: member.name)
        for member in members:
            key, _, extension = member.name.partition(".")
            if extension == "json":
                about[key] = json.load(tar.extractfile(member))
        for member in members:
            key, _, extension = member.name.partition(".")
            if extension == "mjpg":
                edges = about[key]["offsets"]
                places[key] = [(member.offset_data + a, b - a) for a, b in pairwise(edges)]
            elif extension not in ("json", "cls"):
                places.setdefault(key, []).append((member.offset_data, member.size))
    return places
