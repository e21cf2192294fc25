"""What ffmpeg's log says: what a video is, and why it cannot be decoded."""

import re
from fractions import Fraction

from shards.convert.command import MAX_PIXELS, Hdr, Repair
from shards.convert.process import Finished

_USED = re.compile(r"^\[info\]\s+Stream #0:(\d+) \([^)]*\) -> ", re.MULTILINE)
_HDR = re.compile(r"(\w+)/(\w+)/(smpte2084|arib-std-b67)")
_INTERLACED = re.compile(r"\b(top|bottom) (coded )?first\b")
_RATE = re.compile(r", ([\d.]+)(k?) (?:fps|tbr)\b")
_DURATION = re.compile(r"^\[info\]\s+Duration: (\d+):(\d\d):(\d\d\.\d+)", re.MULTILINE)
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
    described = _used_stream(log)
    hdr = _HDR.search(described)
    return Repair(Hdr(*hdr.groups()) if hdr else None, bool(_INTERLACED.search(described)))


def stated_rate(log: str) -> Fraction | None:
    """Return the frames per second that a log at level `info` states; None: it states none.

    It has two decimals at most, so a broken rate next to one of NTSC's, n / 1.001, is that.
    """
    match = _RATE.search(_used_stream(log))
    if match is None:
        return None
    rate = Fraction(match[1]) * (1000 if match[2] else 1)
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    is_ntsc = rate.denominator > 1 and abs(rate - ntsc) <= Fraction(1, 200)
    return ntsc if is_ntsc else rate


def stated_seconds(log: str) -> float | None:
    """Return how long a file says that it is; None: it does not say."""
    match = _DURATION.search(log)
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _used_stream(log: str) -> str:
    """Return the line that describes the decoded stream, or nothing."""
    used = _USED.search(log)
    number = used[1] if used else "0"
    stream = re.search(rf"^\[info\]\s+Stream #0:{number}\b.*: Video: .*", log, re.MULTILINE)
    return stream[0] if stream else ""


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
