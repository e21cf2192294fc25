"""The rows of the report: trainings and inferences, overheads, the peer."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from bench.gpu.clock import Clock, fitting
from bench.gpu.data import batches, stream
from bench.gpu.models import OVER, PLAIN, Bench, clip_flops, ours, theirs
from bench.gpu.sizes import Sizes
from shards.errors import EnvironmentFault
from shards.stream.device import DeviceDecoder
from shards.stream.loader import Batch
from shards.stream.reader import Split

Row = dict[str, Any]

_REASON = 200  # characters of an error


@dataclass
class Measurement:
    """All that is measured on one device.

    Args:
        ceiling: TFLOP/s of a matrix product.
    """

    sizes: Sizes
    clock: Clock
    split: Split
    ceiling: float
    started: float = field(default_factory=time.monotonic)
    skipped: list[str] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """Where it is measured."""
        return self.clock.device

    def rows(self) -> Iterator[Row]:
        """Yield trainings and inferences, first those that matter most."""
        for frames, compiled in product(self.sizes.clips, (True, False)):
            bench = ours(self.sizes, self.device, PLAIN, compiled=compiled)
            for training, source in product((True, False), ("memory", "shards")):
                if source == "memory" or compiled:
                    yield from self._row(bench, frames, training, source, compiled)
        frames = next(iter(self.sizes.clips))
        yield from self._decoded_on_device(frames)

    def _row(
        self,
        bench: Bench,
        frames: int,
        training: bool,
        source: str,
        compiled: bool,
        decoder: DeviceDecoder | None = None,
    ) -> Iterator[Row]:
        what = f"{'training' if training else 'inference'}, {frames} frames, from {source}"
        what += ", compiled" if compiled else ", eager"
        measure = self._from_shards if source != "memory" else self._from_memory
        found = self._tried(
            what,
            self.sizes.clips[frames],
            lambda batch: measure(bench, frames, batch, training, decoder),
        )
        if found is None:
            return
        flops = clip_flops(self.sizes, frames)[training] * found["clips_per_second"] / 1e12
        found |= {"tflops": flops, "share_of_ceiling": flops / self.ceiling}
        yield {"what": what} | found | {"peak_gb": self.clock.peak_memory()}

    def _from_memory(
        self, bench: Bench, frames: int, batch: int, training: bool, _: DeviceDecoder | None
    ) -> Row:
        held = self._batch(frames, batch)
        step = partial(bench.train if training else bench.infer, held)
        return {"batch": batch, "clips_per_second": batch * self.clock.rate(step)}

    def _from_shards(
        self, bench: Bench, frames: int, batch: int, training: bool, decoder: DeviceDecoder | None
    ) -> Row:
        waited = [0.0]
        with batches(stream(self.split, self.sizes, frames, batch), self.device, decoder) as read:

            def step() -> None:
                start = time.perf_counter()
                decoded = next(read)
                waited.append(time.perf_counter() - start)
                (bench.train if training else bench.infer)(decoded.to(self.device))

            rate = self.clock.rate(step)
        lasting = waited[self.sizes.warmup + 1 :]
        share = sum(lasting) * rate / len(lasting)
        return {"batch": batch, "clips_per_second": batch * rate, "data_wait": share}

    def _decoded_on_device(self, frames: int) -> Iterator[Row]:
        try:
            decoder = DeviceDecoder(self.device)
        except EnvironmentFault as fault:
            self.skipped.append(f"JPEGs decoded on the GPU: {fault.message}")
            return
        bench = ours(self.sizes, self.device, PLAIN, compiled=True)
        for training in (True, False):
            source = "shards decoded on the GPU"
            yield from self._row(bench, frames, training, source, True, decoder)

    def overheads(self) -> Iterator[Row]:
        """Yield how many times a plain ViT's step a temporal model's takes, forward + backward."""
        frames = next(iter(self.sizes.clips))
        for compiled in (False, True):
            plain = ours(self.sizes, self.device, PLAIN, compiled=compiled)
            for name, temporal in OVER.items():
                other = ours(self.sizes, self.device, temporal, compiled=compiled)
                yield from self._paired(
                    f"{name} over plain", compiled, {"slow": other, "fast": plain}, frames
                )

    def peers(self) -> Iterator[Row]:
        """Yield how many times faster our TimeSformer is than Hugging Face's in eager mode."""
        frames = next(iter(self.sizes.clips))
        try:
            peer = theirs(self.sizes, self.device, frames)
        except ImportError:
            self.skipped.append("Hugging Face's TimeSformer: transformers is not installed")
            return
        temporal = {"kind": "divided", "frames": frames}
        for compiled in (False, True):
            mine = ours(self.sizes, self.device, temporal, compiled=compiled)
            yield from self._paired(
                "TimeSformer over Hugging Face's", compiled, {"slow": peer, "fast": mine}, frames
            )

    def attention_over_time(self) -> Iterator[Row]:
        """Yield how many times faster attention over time is by products than by SDPA's choice."""
        frames, clips = next(iter(self.sizes.clips.items()))
        what = "attention over time: SDPA's choice over products"
        if found := self._tried(what, clips, partial(self._attention_over_time, frames)):
            yield {"what": what} | found

    def _attention_over_time(self, frames: int, batch: int) -> Row:
        heads, width = self.sizes.peer["heads"], self.sizes.peer["width"]
        patches = (self.sizes.size // 16) ** 2
        shape = (batch, patches * heads, frames, width // heads)
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        q, k, v = (torch.randn(shape, device=self.device, dtype=dtype) for _ in range(3))

        def attend() -> None:
            scaled_dot_product_attention(q, k, v)

        def by_products() -> None:
            with sdpa_kernel(SDPBackend.MATH):
                attend()

        ratios = [
            self.clock.rate(by_products) / self.clock.rate(attend) for _ in range(self.sizes.rounds)
        ]
        return _spread(ratios)

    def _paired(
        self, what: str, compiled: bool, benches: Mapping[str, Bench], frames: int
    ) -> Iterator[Row]:
        """Yield the ratio of two models' times per step, in turns."""

        def measure(batch: int) -> Row:
            held = self._batch(frames, batch)
            clips = held.render(self.sizes.size, (0.5,) * 3, (0.5,) * 3)
            rates: dict[str, list[float]] = {name: [] for name in benches}
            short = Clock(self.device, self.sizes.seconds / 4, self.sizes.warmup)
            for _ in range(self.sizes.rounds):
                for name, bench in benches.items():
                    step = partial(bench.learn, clips, held.labels)
                    rates[name].append(short.rate(step))
            ratios = [a / b for a, b in zip(rates["fast"], rates["slow"], strict=True)]
            return {"batch": batch} | _spread(ratios)

        mode = "compiled" if compiled else "eager"
        found = self._tried(f"{what}, {mode}", max(self.sizes.clips[frames] // 4, 1), measure)
        if found is not None:
            yield {"what": what, "compiled": compiled} | found

    def _tried(self, what: str, batch: int, measure: Callable[[int], Row]) -> Row | None:
        """Return what fits of a measurement; of one that is late or fails, note the reason."""
        if self._is_late(what):
            return None
        try:
            self.clock.forget_memory()
            return fitting(batch, measure)
        except RuntimeError as error:  # a compiler that is not there, a kernel that refuses
            reason = " ".join(str(error).split())
            self.skipped.append(f"{what}: {type(error).__name__}: {reason[:_REASON]}")
            return None

    def _batch(self, frames: int, batch: int) -> Batch:
        """Return one decoded batch on the device."""
        with batches(stream(self.split, self.sizes, frames, batch), self.device) as read:
            return next(read).to(self.device)

    def _is_late(self, what: str) -> bool:
        late = time.monotonic() - self.started > self.sizes.budget
        if late:
            self.skipped.append(f"{what}: {self.sizes.budget:.0f} seconds are over")
        return late


def _spread(ratios: list[float]) -> Row:
    return {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
