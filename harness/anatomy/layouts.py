"""How a part lies inside the tensor that stores it.

A layout reads a part out of the stored tensor and writes it back. Read values are always in
``[out, in]`` orientation for weights and ``[out]`` for biases, whatever the architecture stores.
``O`` is the part's number of output rows, ``I`` of input columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Layout(Protocol):
    """Reads and writes one part of a stored tensor."""

    def read(self, stored: Tensor) -> Tensor:
        """The part, as a view where the layout allows it."""

    def write(self, stored: Tensor, value: Tensor) -> Tensor:
        """A new stored tensor in which the part is ``value``; ``stored`` is not changed."""


@dataclass(frozen=True)
class Plain:
    """The stored tensor is the part."""

    def read(self, stored: Tensor) -> Tensor:
        """``[O, I]`` or ``[O]``, unchanged."""
        return stored

    def write(self, stored: Tensor, value: Tensor) -> Tensor:
        """``value`` itself, in the stored tensor's memory layout."""
        return value.clone(memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class Transposed:
    """GPT-2's Conv1D stores ``[I, O]``."""

    def read(self, stored: Tensor) -> Tensor:
        """``[O, I]``; biases are left alone."""
        return stored.T if stored.ndim == 2 else stored

    def write(self, stored: Tensor, value: Tensor) -> Tensor:
        """``value`` transposed back to ``[I, O]``."""
        return (value.T if value.ndim == 2 else value).clone(memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class Stacked:
    """GPT-2's ``c_attn``: q, k and v stand side by side along the output axis of a Conv1D."""

    index: int
    count: int = 3

    def _span(self, stored: Tensor) -> slice:
        rows = stored.shape[-1] // self.count
        return slice(self.index * rows, (self.index + 1) * rows)

    def read(self, stored: Tensor) -> Tensor:
        """``[O, I]`` out of ``[I, 3 O]``, or ``[O]`` out of ``[3 O]``."""
        part = stored[..., self._span(stored)]
        return part.T if part.ndim == 2 else part

    def write(self, stored: Tensor, value: Tensor) -> Tensor:
        """The stored tensor with this third replaced."""
        out = stored.clone(memory_format=torch.contiguous_format)
        out[..., self._span(stored)] = value.T if value.ndim == 2 else value
        return out


@dataclass(frozen=True)
class Interleaved:
    """GPT-NeoX's and BLOOM's ``query_key_value``: ``[heads, 3, head_size, I]``, head by head.

    Reading it as three blocks (GPT-2's order) gives a mixture of heads without any error.
    """

    index: int
    heads: int
    count: int = 3

    def _view(self, stored: Tensor) -> Tensor:
        size = stored.shape[0] // (self.heads * self.count)
        return stored.view(self.heads, self.count, size, *stored.shape[1:])

    def read(self, stored: Tensor) -> Tensor:
        """``[heads * head_size, I]`` or ``[heads * head_size]``."""
        return self._view(stored)[:, self.index].reshape(-1, *stored.shape[1:])

    def write(self, stored: Tensor, value: Tensor) -> Tensor:
        """The stored tensor with this third of every head replaced."""
        out = stored.clone(memory_format=torch.contiguous_format)
        view = self._view(out)
        view[:, self.index] = value.reshape(view[:, self.index].shape)
        return out
