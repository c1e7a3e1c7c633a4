"""Attention kernels, and the place where the engine enters a transformers model.

Transformers looks up a layer's attention by ``config._attn_implementation``; the engine registers its
own under `NAME`, which hands queries, keys and values to whatever `Attends` object came down with the
call. No module of the model is replaced, and a patch that is in stays in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from harness.engine import bloom
from harness.forwards import attention_named, layer_and_scaling

NAME = "harness_engine"


class Attends(Protocol):
    """Who computes the attention of a forward pass."""

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        window: int | None = None,
        slopes: Tensor | None = None,
    ) -> Tensor:
        """Attention of one layer; see `harness.engine.blocks.Slice.attend`."""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Masked attention; query heads of one key head share it without a copy.

    Args:
        query: ``[heads, queries, head_size]``.
        key: ``[kv_heads, keys, head_size]``.
        value: likewise.
        mask: additive, ``[queries, keys]`` or ``[heads, queries, keys]``.
        scaling: factor of the scores.

    Returns:
        ``[heads, queries, head_size]``.
    """
    (heads, queries, size), kv_heads = query.shape, key.shape[0]
    shared = (kv_heads, heads // kv_heads, key.shape[1], size)
    grouped = query.reshape(kv_heads, heads // kv_heads, queries, size)
    if mask.dim() == 3:
        mask = mask.view(kv_heads, heads // kv_heads, queries, -1)
    out = F.scaled_dot_product_attention(
        grouped, key[:, None].expand(shared), value[:, None].expand(shared), attn_mask=mask, scale=scaling
    )
    return out.reshape(heads, queries, size)


def attend_few(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Masked attention of a few queries a batch element, where reading the keys is all the work.

    Args:
        query: ``[lanes, kv_heads, queries, head_size]``.
        key: ``[lanes, kv_heads, keys, head_size]``.
        value: likewise.
        mask: additive, broadcast to ``[lanes, kv_heads, queries, keys]``.
        scaling: factor of the scores.

    Returns:
        The shape of ``query``.
    """
    if query.is_cuda or query.dtype != torch.float32:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    # On the CPU two plain products read the keys a fifth faster than the fused kernel.
    weights = torch.matmul(query, key.transpose(-1, -2)).mul_(scaling).add_(mask).softmax(dim=-1)
    return torch.matmul(weights, value)


def attend_with_lse(
    query: Tensor, key: Tensor, value: Tensor, scaling: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention over one part of the keys, with what is needed to join it to other parts.

    Args:
        query: ``[..., queries, head_size]``.
        key: ``[..., keys, head_size]``.
        value: likewise.
        scaling: factor of the scores.
        mask: additive, broadcast to ``[..., queries, keys]``; a query may see no key.

    Returns:
        The output ``[..., queries, head_size]`` in fp32 and the log of the sum of exponentiated
        scores ``[..., queries]``, minus infinity where no key is seen.
    """
    # In fp32 throughout: scores rounded to bf16 are not what a fused kernel would give.
    scores = torch.matmul(query.float() * scaling, key.float().transpose(-1, -2))
    if mask is not None:
        scores = scores + mask
    top = scores.amax(dim=-1, keepdim=True)
    top = top.masked_fill(top == float("-inf"), 0.0)
    weights = scores.sub_(top).exp_()
    total = weights.sum(dim=-1, keepdim=True)
    out = torch.matmul(weights, value.float()).div_(total.masked_fill(total == 0.0, 1.0))
    return out, (top + total.log())[..., 0]


def join(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Joins attention over disjoint sets of keys, as if it had been computed over all of them.

    Args:
        parts: outputs and log-sums of `attend_with_lse`, of one shape.
    """
    total = torch.stack([lse for _, lse in parts]).logsumexp(dim=0)
    return torch.stack([out * (lse - total).exp()[..., None] for out, lse in parts]).sum(dim=0)


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    engine: Attends | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer; the batch is one row of packed tokens."""
    assert engine is not None and attention_mask is None and query.shape[0] == 1
    layer, scaling = layer_and_scaling(module, query.shape[-1], scaling, rest)
    out = engine.attend(layer, query[0], key[0], value[0], scaling, sliding_window)
    return out.transpose(0, 1)[None].contiguous(), None


AttentionInterface.register(NAME, _forward)


@contextmanager
def engine_attention(model: PreTrainedModel) -> Iterator[None]:
    """Layers of the model look up the engine's attention for the length of the block."""
    of_bloom = bloom.engine_attention(model) if model.config.model_type == "bloom" else nullcontext()
    with attention_named(model, NAME), of_bloom:
        yield
