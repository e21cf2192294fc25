"""All files of an explanation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ivvit_cli.explaining.files import write_arrays, write_gif, write_mp4, write_strip
from ivvit_cli.explaining.pictures import Pixels, draw_animation, draw_strip, enlarge, lay_over
from ivvit_cli.explaining.runner import BlockMap


def write_all(folder: Path, frames: Pixels, maps: Mapping[int, BlockMap]) -> list[Path]:
    """Write the strip and the arrays and, of several frames, the animations; return their paths.

    maps.npz has `frames`, uint8 (T, S, S, 3), and of every block `block_N`, float32 (M, H, W) or
    (M, H, W, C): M moments (frames, or tubelets) of H x W patches.

    Raises:
        EnvironmentFault: they cannot be written.
    """
    large = enlarge(frames)
    rows = {f"block {number}": lay_over(each.colours, large) for number, each in maps.items()}
    arrays: dict[str, NDArray[Any]] = {f"block_{n}": each.values for n, each in maps.items()}
    files = [write_strip(folder, draw_strip(large, rows))]
    files.append(write_arrays(folder, arrays | {"frames": frames}))
    if len(frames) > 1:
        pictures = draw_animation(large, rows)
        files += [write_gif(folder, pictures), write_mp4(folder, pictures)]
    return files
