"""Colours computed from their standards: what a video's numbers mean, and HDR made from SDR."""

import numpy as np
from media import run_ffmpeg
from numpy.typing import NDArray

Array = NDArray[np.floating]

LUMA = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}
WHITE = 203.0  # cd/m² of SDR's white in HDR (BT.2408)
_TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def rgb_of(y: Array, u: Array, v: Array, matrix: str, *, full: bool) -> Array:
    """Return the exact RGB, 0 to 255, of 8-bit Y'CbCr (ITU-R BT.601, BT.709, BT.2020)."""
    red, blue = LUMA[matrix]
    if not full:
        y = (y - 16) * 255 / 219
    u, v = ((plane - 128.0) * (1 if full else 255 / 224) for plane in (u, v))
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], -1), 0, 255)


def light_of(colours: Array) -> Array:
    """Return the light, cd/m² in BT.2020's primaries, of sRGB colours shown with gamma 2.4."""
    return (colours / 255) ** 2.4 * WHITE @ _TO_2020.T


def pq(light: Array) -> Array:
    """Return the signal of a light (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    y = np.clip(light / 10_000, 0, 1) ** m1
    return ((c1 + c2 * y) / (1 + c3 * y)) ** m2


def hlg(light: Array) -> Array:
    """Return the signal of a light on a display of 1000 cd/m² (ITU-R BT.2100, hybrid log-gamma)."""
    share = light / 1000
    luma = np.maximum(share @ np.array([0.2627, 0.6780, 0.0593]), 1e-9)[..., None]
    scene = share * luma ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    bright = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def write_hdr(path: object, light: Array, transfer: str, tags: str) -> None:
    """Write one 10-bit frame per light (N, 3), lossless, 64 x 48, with colour tags of ffmpeg's."""
    signal = pq(light) if transfer == "smpte2084" else hlg(light)
    y = signal @ np.array([0.2627, 0.6780, 0.0593])
    u, v = (signal[:, 2] - y) / 1.8814, (signal[:, 0] - y) / 1.4746
    planes = ((64 + 876 * y, (48, 64)), (512 + 896 * u, (24, 32)), (512 + 896 * v, (24, 32)))
    raw = b"".join(
        np.full(shape, round(plane[n])).astype("<u2").tobytes()
        for n in range(len(light))
        for plane, shape in planes
    )
    source = (
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p10le",
        "-s",
        "64x48",
        "-r",
        "25",
        "-i",
        "pipe:0",
    )
    run_ffmpeg(*source, "-vf", f"setparams={tags}", "-c:v", "ffv1", str(path), stdin=raw)
