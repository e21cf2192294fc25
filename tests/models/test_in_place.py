"""Maps that write in place: equal to their other form, their gradients to autograd's, no copies."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from small_models import images, small_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ivvit_cli.models import JointModel
from ivvit_cli.models.in_place import FrameMap, views, write
from ivvit_cli.models.temporal.divided import PrefixMean, add_to_patches
from ivvit_cli.models.temporal.neighbours import VARIANTS, NeighbourShift
from ivvit_cli.models.temporal.token_shift import ClassTokenShift

HEADS = 4
TOKENS = (6, 5, 24)  # two clips of three frames
Form = Callable[[Tensor], Tensor]


def shift_qkv(shift: NeighbourShift, frames: int) -> Form:
    """The form of a shift that a compiler sees, as a map of q, k and v in one tensor."""

    def moved(qkv: Tensor) -> Tensor:
        parts = qkv.view(*qkv.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = [
            shift(part, frames) if name in shift.tensors else part
            for name, part in zip("QKV", parts, strict=True)
        ]
        return torch.stack(mixed).permute(1, 3, 0, 2, 4).flatten(2)

    return moved


def maps(frames: int = 3) -> dict[str, tuple[FrameMap, Form]]:
    found: dict[str, tuple[FrameMap, Form]] = {}
    for fold, layout in product((0, 3, 12), ("official", "paper")):
        shift = ClassTokenShift(fold, layout)  # type: ignore[arg-type]
        found[f"token-{fold}-{layout}"] = shift, lambda x, s=shift: s(x, frames)  # type: ignore[misc]
    for prefix in (1, 2):
        mean = PrefixMean(prefix)
        found[f"mean-{prefix}"] = mean, lambda x, m=mean: m(x, frames)  # type: ignore[misc]
    settings = product(VARIANTS, (False, True), ("zero", "self"), ("paper", "official", "adjacent"))
    for variant, by_token, boundary, layout in settings:
        for counts in ((1, 2), (2, 0), (0, 1)):
            own = NeighbourShift(variant, HEADS, by_token, *counts, boundary, layout)  # type: ignore[arg-type]
            name = f"{'p' * by_token}{variant}-{boundary}-{layout}-{counts[0]}{counts[1]}"
            found[name] = own, shift_qkv(own, frames)
    return found


MAPS = maps()


@pytest.mark.parametrize("name", MAPS)
def test_written_as_called_and_transposed_as_autograd_has_it(name: str) -> None:
    frame_map, form = MAPS[name]
    x, grad = images(*TOKENS).double().requires_grad_(), images(*TOKENS, seed=2).double()
    expected = form(x)
    expected.backward(grad)
    written, returned = x.detach().clone(), grad.clone()
    frame_map.write(written, 3)
    frame_map.write_transposed(returned, 3)
    torch.testing.assert_close(written, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(returned, x.grad, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["token-3-official", "mean-1", "KV-zero-paper-12"])
def test_autograd_through_a_write(name: str) -> None:
    frame_map, form = MAPS[name]

    def twice(x: Tensor, apply: Form) -> Tensor:
        y = apply(2 * x)
        return y + y.sin()

    x = images(*TOKENS).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: twice(y, lambda z: write(z, 3, frame_map)), x)
    torch.testing.assert_close(
        twice(x, lambda z: write(z, 3, frame_map)), twice(x, form), rtol=0, atol=1e-14
    )


def test_the_gradient_that_a_caller_gives_is_left_alone() -> None:
    """Gradients are written to as well; autograd has to have made them for nobody else."""
    for kind in ("token_shift", "msca", "divided"):
        model = small_model(temporal={"kind": kind})
        block, x = model.encoder.vit.blocks[0], images(4, 5, 24).requires_grad_()
        given = images(4, 5, 24, seed=3)
        kept, seen = given.clone(), []
        y = block(x, 2)
        y.register_hook(seen.append)
        y.backward(given)
        assert torch.equal(given, kept)
        assert torch.equal(seen[0], kept)


def test_views_get_their_gradients_in_one_tensor() -> None:
    x = images(2, 6).double().requires_grad_()

    def product_of_two(y: Tensor) -> Tensor:
        first, _, last = views(2 * y, lambda z: z.split((2, 2, 2), dim=1))
        return first * last

    assert torch.autograd.gradcheck(product_of_two, x)


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_adding_to_patches(prefix: int) -> None:
    x, moved = (images(2, n, 4).double().requires_grad_() for n in (prefix + 3, 3))
    expected = torch.cat((x[:, :prefix], x[:, prefix:] + moved), dim=1)
    assert torch.equal(add_to_patches(x, moved), expected)
    assert torch.autograd.gradcheck(lambda a, b: add_to_patches(a, b).sin(), (x, moved))


KINDS: dict[str, dict[str, Any]] = {
    "token_shift": {"kind": "token_shift"},
    "msca": {"kind": "msca"},
    "msca-p": {"kind": "msca", "variant": "pKV", "backward": 1, "forward": 1},
}
CLIPS = (2, 4, 3, 64, 64)


def wide(temporal: dict[str, Any]) -> JointModel:
    """A model whose patches outnumber its class token, so that what moves is little."""
    args = {"img_size": 64, "embed_dim": 48, "num_heads": 12}
    return small_model(temporal=temporal, **args).train()


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_is_kept_for_the_backward_pass_than_in_a_plain_vit(kind: str) -> None:
    assert kept_bytes(wide(KINDS[kind])) == kept_bytes(wide({"kind": "none"}))


def kept_bytes(model: JointModel) -> int:
    """Return the bytes of all that autograd keeps, shared memory once."""
    memory: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        memory[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        logits = model(images(*CLIPS), "a")
    assert logits.requires_grad
    return sum(memory.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_of_tokens_is_copied_no_more_often_than_in_a_plain_vit(kind: str) -> None:
    assert large_copies(wide(KINDS[kind])) == large_copies(wide({"kind": "none"}))


def large_copies(model: JointModel) -> list[str]:
    """Return the operations of a forward and backward pass that write the stream but only move."""
    with Copies(numel=2 * 4 * 65 * 48) as copies:
        model(images(*CLIPS), "a").square().sum().backward()
    return copies.found


class Copies(TorchDispatchMode):
    """Notes every operation that moves at least `numel` elements from one place to another."""

    MOVING = ("cat", "clone", "copy", "index", "pad", "roll", "scatter", "slice", "stack", "zeros")

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.numel, self.found = numel, list[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        out, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        if not func.is_view and any(word in name for word in self.MOVING):
            largest = max((x.numel() for x in tree_iter(out) if isinstance(x, Tensor)), default=0)
            self.found += [name] if largest >= self.numel else []
        return out


@pytest.mark.parametrize("kind", [*KINDS, "divided"])
def test_gradients_are_those_of_the_form_for_compilers(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, clips = wide(KINDS.get(kind, {"kind": kind})).double(), images(*CLIPS).double()
    found = []
    for compiling in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda value=compiling: value)
        model.zero_grad(set_to_none=True)
        logits = model(clips, "a")
        logits.square().sum().backward()
        found.append([logits, *(p.grad for p in model.parameters())])
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(eager, compiled, rtol=1e-10, atol=1e-10)
