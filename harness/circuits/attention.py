"""Attention of a batch of prompts whose first positions may be known already, and its place in transformers.

Transformers looks up a layer's attention by ``config._attn_implementation``. Under `NAME` it calls whatever came down
with the call as ``circuit``, between the projections: queries and keys have their rotations and norms, and what is
returned is the input of the output projection, head by head. This is the same point in every architecture, and a
projection that is wrapped (by LoRA) is called as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from harness.forwards import attention_named, layer_and_scaling

NAME = "harness_circuits"


# (layer, q_BHSD, k_BGSD, v_BGSD, scaling, sliding window) -> z_BHSD: one layer's attention. Axes: B rows, H heads, G
# key-value heads, S positions, D head size.
Attends = Callable[[int, Tensor, Tensor, Tensor, float, int | None], Tensor]


def attend(
    q_BHSD: Tensor, k_BGUD: Tensor, v_BGUD: Tensor, queries_BS: Tensor, scaling: float, window: int | None
) -> Tensor:
    """Causal attention of some queries over all keys of their prompts.

    Args:
        q_BHSD: queries; H is a multiple of G.
        k_BGUD: keys of positions 0 to U - 1.
        v_BGUD: values.
        queries_BS: position of each query, ``[B, S]`` or ``[1, S]`` where all rows are alike.
        scaling: factor of the scores.
        window: sliding window in positions; None for full attention.

    Returns:
        z_BHSD.
    """
    keys_U = torch.arange(k_BGUD.shape[2], device=q_BHSD.device)
    seen = keys_U <= queries_BS[..., None]
    if window is not None:
        seen = seen & (queries_BS[..., None] - keys_U < window)
    repeats = q_BHSD.shape[1] // k_BGUD.shape[1]
    if repeats > 1:
        k_BGUD, v_BGUD = (t.repeat_interleave(repeats, dim=1) for t in (k_BGUD, v_BGUD))
    return F.scaled_dot_product_attention(q_BHSD, k_BGUD, v_BGUD, attn_mask=seen[:, None], scale=scaling)


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    circuit: Attends | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer."""
    assert circuit is not None and attention_mask is None
    layer, scaling = layer_and_scaling(module, query.shape[-1], scaling, rest)
    return circuit(layer, query, key, value, scaling, sliding_window).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _forward)


def circuit_attention(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Layers of the model look up the attention above for the length of the block."""
    return attention_named(model, NAME)
