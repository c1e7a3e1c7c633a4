"""Stepping into a forward of transformers: other modules' forwards, another attention, for the length of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

# What layers may pass along to an attention that changes nothing; anything else would be ignored in silence.
_HARMLESS = {"dropout", "position_ids", "use_cache", "output_attentions", "is_causal", "position_embeddings"}


def input_device(model: PreTrainedModel) -> torch.device:
    """Where token ids go in."""
    return next(model.get_input_embeddings().parameters()).device


@contextmanager
def replaced(modules: Iterable[nn.Module], forward: Callable[..., Any]) -> Iterator[None]:
    """Another forward for some modules; one that accelerate put on an instance comes back."""
    own = [(module, module.__dict__.get("forward")) for module in modules]
    for module, _ in own:
        module.__dict__["forward"] = forward
    try:
        yield
    finally:
        for module, before in own:
            del module.__dict__["forward"]
            if before is not None:
                module.__dict__["forward"] = before


@contextmanager
def attention_named(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Layers of the model look up the attention that was registered under this name."""
    before = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before


def layer_and_scaling(
    module: nn.Module, width: int, scaling: float | None, rest: Mapping[str, Any]
) -> tuple[int, float]:
    """Which layer asks its attention, and the factor of its scores.

    Args:
        module: the attention's module.
        width: of a head.
        scaling: as the layer gives it; None for one over the root of the width.
        rest: all else that the layer passes along, which must change nothing.
    """
    odd = [name for name, value in rest.items() if value is not None and name not in _HARMLESS]
    assert not odd, f"{type(module).__name__} asks its attention for {odd}, which is not known here"
    layer = module.layer_idx
    assert isinstance(layer, int)
    return layer, scaling if scaling is not None else width**-0.5
