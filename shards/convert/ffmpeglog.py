"""What ffmpeg's log says: what a video is, and why it cannot be decoded."""

import re

from shards.convert.command import MAX_PIXELS, Hdr, Repair
from shards.convert.process import Finished

_USED = re.compile(r"^\[info\]\s+Stream #0:(\d+) \([^)]*\) -> ", re.MULTILINE)
_HDR = re.compile(r"(\w+)/(\w+)/(smpte2084|arib-std-b67)")
_INTERLACED = re.compile(r"\b(top|bottom) (coded )?first\b")
_FAULT = re.compile(r"^(?:\[[^\]\n]* @ [^\]\n]*\] )*\[(?:error|fatal|panic)\].*", re.MULTILINE)

# ffmpeg's threads race to report the same fault, so what is kept of its log is in fixed words.
_REASONS = (
    (r"Format not on whitelist", "is not a video of an allowed format"),
    (r"matches no streams|does not contain any stream", "holds no video stream"),
    (r"moov atom not found", "is cut short or damaged: its moov atom is missing"),
    (r"Picture size .* exceeds|exceeds max_pixels", f"has more than {MAX_PIXELS} pixels a frame"),
    (r"Cannot allocate memory|Out of memory", "needs more memory than is allowed"),
    (
        r"Error opening input|\] file:.*: Invalid data found",
        "is not a video, or its start is damaged",
    ),
    (r"(?s)\A(?!.*Invalid data).*received no packets", "holds no frame"),  # in the segment
)


def needed_repair(log: str) -> Repair:
    """Return what the decoded stream of a log at level `info` needs, to look right."""
    used = _USED.search(log)
    number = used[1] if used else "0"
    stream = re.search(rf"^\[info\]\s+Stream #0:{number}\b.*: Video: .*", log, re.MULTILINE)
    described = stream[0] if stream else ""
    hdr = _HDR.search(described)
    return Repair(Hdr(*hdr.groups()) if hdr else None, bool(_INTERLACED.search(described)))


def ends_early(done: Finished) -> bool:
    """Return whether the file ends before it says that it does, which is no failure to ffmpeg."""
    return "File ended prematurely" in _faults(done)


def lacks_filter(done: Finished) -> bool:
    """Return whether this build of ffmpeg lacks a filter that it was asked for."""
    return done.code != 0 and "No such filter" in _faults(done)


def failure(done: Finished) -> str:
    """Return why ffmpeg failed."""
    faults = _faults(done)
    for pattern, reason in _REASONS:
        if re.search(pattern, faults):
            return reason
    if done.code < 0:
        return f"ended ffmpeg with signal {-done.code}"
    return "is cut short or damaged"


def _faults(done: Finished) -> str:
    return "\n".join(_FAULT.findall(done.errors))
