"""A second device, written in Python: the rules of a GPU for machines without one.

Its tensors keep their values on the CPU, but are elsewhere for torch: operations that mix them with
tensors of the CPU are refused, autocast treats operations as CUDA's does, and what would make a GPU
run dry is noted: a value that is read back, and a copy that waits.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_iter, tree_map

NAME = "second"
BLOCKING: list[str] = []  # operations that wait for the device, in their order

_COPIES = {"copy_", "_to_copy"}
_READS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "unique_dim"}
_IN_BF16 = (
    "conv1d",
    "conv2d",
    "conv3d",
    "matmul",
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
    "linear",
    "einsum",
)
_IN_FLOAT32 = ("exp", "log", "pow", "rsqrt", "layer_norm", "group_norm", "cosine_similarity")
_IN_FLOAT32 += ("nll_loss", "logsumexp", "softmax", "log_softmax", "cumsum", "prod", "sum", "norm")


class SecondTensor(Tensor):
    """A tensor of the second device; `values` is a tensor of the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "SecondTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(NAME, 0),
        )
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        return _run(func, *args, **(kwargs or {}))

    def tolist(self) -> Any:
        """Read the values back, for which torch asks no operation."""
        return self.cpu().tolist()


def register() -> None:
    """Make the device known to torch, for the rest of this process."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Backend())
    for key, kernel in (("PrivateUse1", _run), ("AutocastPrivateUse1", None)):
        kernel = kernel or torch.library.fallthrough_kernel
        _LIBRARIES.append(torch.library.Library("_", "IMPL"))
        _LIBRARIES[-1].fallback(kernel, key)
    _LIBRARIES.append(torch.library.Library("aten", "IMPL"))
    for name in ("arange", "arange.start", "arange.start_step"):  # not into a tensor that grows
        overload = getattr(torch.ops.aten.arange, name.partition(".")[2] or "default")
        _LIBRARIES[-1].impl(name, partial(_run, overload), "PrivateUse1")
    for names, dtype in ((_IN_BF16, torch.bfloat16), (_IN_FLOAT32, torch.float32)):
        for name in names:
            _register_autocast(getattr(torch.ops.aten, name), dtype)
    torch.tensor = _tensor


_LIBRARIES: list[torch.library.Library] = []  # which torch forgets with them
_tensor_of_cpu = torch.tensor


def _tensor(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
    """Make it on the CPU and copy it, as torch does, too, but not for backends in Python."""
    made = _tensor_of_cpu(data, *args, **kwargs)
    return made if device is None else made.to(device)


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def _run(func: Any, *args: Any, **kwargs: Any) -> object:
    """Run an operation on the values and put what it gives where it belongs."""
    name = func.overloadpacket.__name__
    tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
    own = [x for x in tensors if isinstance(x, SecondTensor)]
    _check(name, tensors, own)
    wanted = kwargs.get("device")
    here = bool(own) if wanted is None else torch.device(wanted).type == NAME
    if name == "copy_":
        here = isinstance(args[0], SecondTensor)
    _note(name, func, args, kwargs, crosses=bool(own) != here or 0 < len(own) < len(tensors))
    plain = {k: torch.device("cpu") if k == "device" else v for k, v in kwargs.items()}
    if wanted is None:
        plain.pop("device", None)
    plain.pop("pin_memory", None)
    out = func(*tree_map(_values, args), **tree_map(_values, plain))
    if not here:
        return out
    known = {id(x.values): x for x in own}  # what was changed in place is the tensor that it was
    return tree_map(lambda x: known[id(x)] if id(x) in known else _wrapped(x), out)


def _check(name: str, tensors: list[Tensor], own: list[SecondTensor]) -> None:
    """Refuse what CUDA refuses; numbers and the places of `index` may be on the CPU."""
    others = [x for x in tensors if not isinstance(x, SecondTensor) and x.dim()]
    if own and others and name not in _COPIES and not name.startswith("index"):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")


def _note(name: str, func: Any, args: Any, kwargs: Any, *, crosses: bool) -> None:
    names = [argument.name for argument in func._schema.arguments]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    waits = crosses and not given.get("non_blocking") and (name in _COPIES or "index" in name)
    if waits or name in _READS:
        BLOCKING.append(name)


def _values(x: Any) -> Any:
    return x.values if isinstance(x, SecondTensor) else x


def _wrapped(x: Any) -> Any:
    return SecondTensor(x) if isinstance(x, Tensor) else x


def _register_autocast(packet: Any, dtype: torch.dtype) -> None:
    for name in packet.overloads():
        overload = getattr(packet, name)
        if overload._schema.is_mutable or "dtype" in name:
            continue
        _LIBRARIES[-1].impl(overload, _casting(overload, dtype), "AutocastPrivateUse1")


def _casting(overload: Any, dtype: torch.dtype) -> Callable[..., object]:
    autocast = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def cast(x: Any) -> Any:
        return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x

    def run(*args: Any, **kwargs: Any) -> object:
        with torch._C._ExcludeDispatchKeyGuard(autocast):
            return overload(*tree_map(cast, args), **tree_map(cast, kwargs))

    return run
