"""What a model computes on some prompts, kept for passes that repeat a part of it.

Axes as in `harness.circuits.stack`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.circuits.attention import attend
from harness.circuits.cost import Cost
from harness.circuits.stack import Stack


@dataclass(frozen=True)
class Trace:
    """One forward.

    Attributes:
        streams: residual stream before each layer and behind the last one, ``[L + 1][B, T, E]``.
        z: output of each head, ``[L][B, H, T, D]``.
        out: output of each attention, ``[L][B, T, E]``.
        k: keys as they are met by queries, ``[L][B, G, T, D]``.
        v: values, likewise.
        q: queries, ``[L][B, H, T, D]``.
        calls: keywords of each layer.
        logits_BV: at the prompts' ends.
        scalings: factor of each layer's scores.
        windows: sliding window of each layer, None for full attention.
    """

    streams: list[Tensor]
    z: list[Tensor]
    out: list[Tensor]
    q: list[Tensor]
    k: list[Tensor]
    v: list[Tensor]
    calls: list[Mapping[str, Any]]
    logits_BV: Tensor
    scalings: list[float]
    windows: list[int | None]


def trace(stack: Stack, ids_BT: Tensor, ends_B: Tensor, cost: Cost | None = None) -> Trace:
    """Runs the model once; to be called inside ``stack.running()``.

    Args:
        stack: the model.
        ids_BT: token ids.
        ends_B: positions whose logits are read.
        cost: where the pass is counted.
    """
    heads: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    settings: list[tuple[float, int | None]] = []
    outs: list[Tensor] = []
    positions = torch.arange(ids_BT.shape[1], device=ids_BT.device)[None]

    def see(layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float, window: int | None) -> Tensor:
        assert layer == len(heads), f"layer {layer} came in place of {len(heads)}"
        z = attend(q, k, v, positions.to(q.device), scaling, window)
        heads.append((z, q, k, v))
        settings.append((scaling, window))
        return z

    with stack.seeing_attention(lambda _layer, out: outs.append(out)):
        streams, calls = stack.forward(ids_BT, see)
    rows = torch.arange(len(ids_BT), device=streams[-1].device)
    logits = stack.logits(streams[-1][rows, ends_B.to(streams[-1].device)])
    if cost is not None:
        count_forward(cost, "trace", stack, *ids_BT.shape)
    z, q, k, v = (list(part) for part in zip(*heads, strict=True))
    return Trace(streams, z, outs, q, k, v, calls, logits, [s for s, _ in settings], [w for _, w in settings])


def count_forward(cost: Cost, name: str, stack: Stack, rows: int, length: int) -> None:
    """Counts a whole forward whose logits are read once a row."""
    for layer, size in enumerate(stack.sizes):
        cost.add(name, layer, 2 * rows * length * (size.qkv + size.out + size.mlp))
        cost.add(name, layer, attention_flops(stack, rows, length, length, stack.n_heads))
    cost.add(name, stack.n_layers, 2 * rows * stack.head_weights)


def attention_flops(stack: Stack, rows: int, queries: int, keys: int, heads: int) -> int:
    """Operations of scores and of weighted values, masked ones included, as they are computed."""
    return 4 * rows * queries * keys * heads * stack.head_size
