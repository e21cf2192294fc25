"""AM Flow in float64, entry by entry: loops over frames, heads, queries and keys.

Written from the papers (arXiv 2411.02065, Eq. 1-6; Katharopoulos et al., 2020, Eq. 4-7),
independently of the package. Scalars are torch's, so that they have gradients.
"""

import math

import torch
from torch import Tensor

State = dict[str, Tensor]


def entry(q: Tensor, k: Tensor) -> Tensor:
    """Eq. 2, one entry: how a query (d,) meets a key (d,)."""
    return sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(len(q))


def softmax(scores: list[Tensor]) -> list[Tensor]:
    exponentials = [torch.exp(score) for score in scores]
    return [each / sum(exponentials) for each in exponentials]


def received(rows: list[list[Tensor]], along: str) -> list[Tensor]:
    """softmax(X)^T 1 of a matrix: over keys, summed over queries; or the other way round."""
    if along == "queries":
        rows = [list(column) for column in zip(*rows, strict=True)]
    weights = [softmax(row) for row in rows]
    return [sum(row[j] for row in weights) for j in range(len(rows))]


def vanilla(q: Tensor, k: Tensor, *, along: str = "keys", mean: bool = False) -> Tensor:
    """Eq. 3 of one clip's q and k (T, heads, N, d): (T - 1, N, heads), or (T - 1, N, 1)."""
    frames, heads, tokens, _ = q.shape
    flows = []
    for t in range(frames - 1):
        changes = []
        for h in range(heads):
            first = maps(q[t, h], k[t, h])
            then = maps(q[t + 1, h], k[t + 1, h])
            changes.append(
                [[first[i][j] - then[i][j] for j in range(tokens)] for i in range(tokens)]
            )
        if mean:
            changes = [
                [
                    [sum(change[i][j] for change in changes) / heads for j in range(tokens)]
                    for i in range(tokens)
                ]
            ]
        sizes = [[[abs(value) for value in row] for row in change] for change in changes]
        each = [torch.stack(received(size, along)) for size in sizes]
        flows.append(torch.stack(each, dim=1))
    return torch.stack(flows)


def maps(q: Tensor, k: Tensor) -> list[list[Tensor]]:
    return [[entry(query, key) for key in k] for query in q]


def aligned(q: Tensor, k: Tensor, state: State, encoder_heads: int) -> Tensor:
    """Eq. 4 and 5 of one clip's q and k (T, heads, N, d): (T - 1, N, heads * d)."""
    frames, heads, tokens, width = q.shape
    encoded = []
    for t in range(frames):
        columns = [received(maps(q[t, h], k[t, h]), "keys") for h in range(heads)]
        like_v = [
            torch.stack([columns[h][n] for h in range(heads) for _ in range(width)])
            for n in range(tokens)
        ]
        encoded.append(align(state, torch.stack(like_v), encoder_heads))
    return torch.stack([abs(encoded[t] - encoded[t + 1]) for t in range(frames - 1)])


def align(state: State, x: Tensor, heads: int) -> Tensor:
    """The aligning encoder on tokens (N, D)."""
    attended = linear(state, "layer.proj", linear_attention(state, x, heads))
    x = norm(state, "layer.norm1", x + attended)
    hidden = linear(state, "layer.fc1", x)
    hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
    x = norm(state, "layer.norm2", x + linear(state, "layer.fc2", hidden))
    return norm(state, "norm", x)


def linear_attention(state: State, x: Tensor, heads: int) -> Tensor:
    """sum_j phi(q_i)·phi(k_j) v_j / sum_j phi(q_i)·phi(k_j), every pair of tokens for itself."""
    q, k, v = (linear(state, f"layer.{name}", x) for name in ("query", "key", "value"))
    q, k = (torch.where(y > 0, y + 1, torch.exp(y)) for y in (q, k))
    each = x.shape[1] // heads
    rows = []
    for i in range(len(x)):
        parts = []
        for h in range(heads):
            part = slice(h * each, (h + 1) * each)
            weights = [sum(q[i, part] * key) for key in k[:, part]]
            total = sum(w * value for w, value in zip(weights, v[:, part], strict=True))
            parts.append(total / (sum(weights) + 1e-6))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(state: State, name: str, x: Tensor) -> Tensor:
    rows = []
    for row in x:
        centred = row - row.mean()
        scaled = centred / torch.sqrt((centred * centred).mean() + 1e-5)
        rows.append(scaled * state[f"{name}.weight"] + state[f"{name}.bias"])
    return torch.stack(rows)


def adapter(state: State, x: Tensor, flow: Tensor | None) -> tuple[Tensor, Tensor]:
    """Eq. 6 and Eq. 1 of tokens (N, D): E, and what is added to the tokens."""
    source = norm(state, "norm", x)
    if flow is not None:
        source = torch.cat((source, flow), dim=1)
    hidden = linear(state, "down", source)
    embedding = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
    return embedding, state["scale"] * linear(state, "up", embedding)
