"""BLOOM's attention, which transformers does not let one look up.

Its layers compute ALiBi from the length of the batch's row, which for packed tokens is not their
position. So for the length of a block each layer's forward is this one; projections and residual are
the layer's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.bloom.modeling_bloom import BloomAttention, _get_alibi_slopes


class Carrier:
    """The one place where the current `Attends` reaches layers whose model does not pass it down."""

    def __init__(self) -> None:
        self.engine: Any = None


@contextmanager
def engine_attention(model: PreTrainedModel) -> Iterator[None]:
    """Replaces the forward of every attention layer; the very same ones come back."""
    carrier = Carrier()
    backbone = model.base_model
    layers = [module for module in model.modules() if isinstance(module, BloomAttention)]
    # Accelerate hangs a forward of its own on modules that it has placed.
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = partial(_forward, layer, carrier)  # type: ignore[method-assign]
    hook = backbone.register_forward_pre_hook(partial(_remember, carrier), with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
        for layer, own in zip(layers, before, strict=True):
            del layer.forward
            if own is not None:
                layer.forward = own  # type: ignore[method-assign]


def _remember(carrier: Carrier, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    carrier.engine = kwargs["engine"]


def _forward(
    layer: BloomAttention, carrier: Carrier, hidden: Tensor, residual: Tensor, **ignored: Any
) -> tuple[Tensor, None]:
    query, key, value = layer._reshape(layer.query_key_value(hidden))
    slopes = _get_alibi_slopes(layer.num_heads, hidden.device).to(hidden.dtype)
    assert layer.layer_idx is not None
    out = carrier.engine.attend(layer.layer_idx, query[0], key[0], value[0], layer.inv_norm_factor, slopes=slopes)
    merged = out.transpose(0, 1).reshape(1, hidden.shape[1], -1)
    return residual + layer.dense(merged), None
