"""What a model takes beside tokens: the pixels of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

Inputs = Mapping[str, Tensor]


def together(rows: Sequence[Inputs]) -> Inputs:
    """The inputs of several rows as one batch, images behind each other.

    Images of one row may be cut into more patches than another's (LLaVA-NeXT): the second axis is padded with zeros,
    as the model's own processor pads it.

    Raises:
        ValueError: if some rows have inputs that others lack.
    """
    if len({frozenset(row) for row in rows}) > 1:
        raise ValueError("questions with images and without are in one batch; a task asks about images, or does not")
    out = {}
    for name in rows[0] if rows else ():
        tensors = [row[name] for row in rows]
        patches = max(t.shape[1] for t in tensors)
        out[name] = torch.cat([pad(t, [0, 0] * (t.dim() - 2) + [0, patches - t.shape[1]]) for t in tensors])
    return out


def on(model: PreTrainedModel, inputs: Inputs) -> Inputs:
    """Inputs on a model's device; what is not counted has its dtype."""
    return {
        name: t.to(model.device, model.dtype) if t.is_floating_point() else t.to(model.device)
        for name, t in inputs.items()
    }
