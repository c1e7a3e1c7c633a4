"""Attention over a slice of the prefix tree, block by block.

A slice of the pre-order ``[start, stop)`` is one batch of the model: a single row, no padding. Its
tokens see keys from before the slice (only the path to ``start`` matters: what other tokens before it
led to has ended) and keys of the slice itself. A block is a stretch of queries; all of its ancestors
lie on the path to its first token or in the block. So a block gathers these keys, masks the few that
belong to a neighbour, and runs one `scaled_dot_product_attention`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from harness.engine.attention import attend
from harness.engine.tree import Ints, PrefixTree

# Queries of a block. Small ones gather the same path often, large ones compute masked scores in vain;
# on two CPU cores the time hardly differs between 64 and 256.
BLOCK = 128


@dataclass
class Block:
    """Queries ``[start, stop)`` of a slice.

    Attributes:
        start: first query, counted from the start of the slice.
        stop: behind the last one.
        keys: which of the keys ``held + slice`` its queries may see.
        visible: query sees key, whatever the window. ``[queries, keys]``
        query_positions: ``[queries]``
        key_positions: ``[keys]``
    """

    start: int
    stop: int
    keys: Tensor | slice
    visible: Tensor
    query_positions: Tensor
    key_positions: Tensor
    masks: dict[tuple[object, ...], Tensor] = field(default_factory=dict)
    places: dict[torch.device, Tensor | slice] = field(default_factory=dict)

    def keys_on(self, device: torch.device) -> Tensor | slice:
        """``keys`` on a layer's device."""
        if device not in self.places:
            self.places[device] = self.keys if isinstance(self.keys, slice) else self.keys.to(device)
        return self.places[device]

    def mask(self, like: Tensor, window: int | None) -> Tensor:
        """Additive mask in the dtype and on the device of ``like``; built once for all layers alike."""
        key = (like.dtype, like.device, window)
        if key not in self.masks:
            seen = self.visible
            if window is not None:
                seen = seen & (self.query_positions[:, None] - self.key_positions < window)
            mask = torch.zeros(seen.shape, dtype=like.dtype).masked_fill_(~seen, float("-inf"))
            self.masks[key] = mask.to(like.device)
        return self.masks[key]


class Slice:
    """The attention of one batch, and the keys and values that outlive it.

    Args:
        tree: the tree.
        start: first token of the batch.
        stop: behind the last one.
        held: pre-order indices of the keys that are there already: the ancestors of ``start``.
        cache: layer -> keys and values of ``held``, ``[kv_heads, held, head_size]`` each.
        keep: pre-order indices, among ``held`` and the batch, whose keys and values are kept.
    """

    def __init__(
        self, tree: PrefixTree, start: int, stop: int, held: Ints, cache: dict[int, tuple[Tensor, Tensor]], keep: Ints
    ) -> None:
        assert 0 <= start < stop <= len(tree), f"slice [{start}, {stop}) of a tree of {len(tree)}"
        self._cache = cache
        self._there = np.concatenate([held, np.arange(start, stop)])
        self._keep = torch.from_numpy(np.searchsorted(self._there, keep))
        self._positions = torch.from_numpy(tree.positions[self._there])
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        ends = tree.ends[self._there]
        self._blocks = [
            self._block(ends, len(held), at, min(at + BLOCK, stop - start)) for at in range(0, stop - start, BLOCK)
        ]

    def _block(self, ends: Ints, n_held: int, start: int, stop: int) -> Block:
        """Finds the keys of a block by the rule of the pre-order: ``j <= i < ends[j]``."""
        first = n_held + start
        queries = np.arange(first, n_held + stop)
        ancestors = np.flatnonzero(ends[:first] > self._there[first])
        keys = np.concatenate([ancestors, queries])
        visible = (keys <= queries[:, None]) & (self._there[queries][:, None] < ends[keys])
        at = self._positions
        whole = len(keys) == keys[-1] + 1
        chosen = slice(0, len(keys)) if whole else torch.from_numpy(keys)
        return Block(start, stop, chosen, torch.from_numpy(visible), at[queries], at[keys])

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
        """Attention of the batch in one layer.

        Args:
            layer: the layer's index.
            query: ``[heads, tokens, head_size]``.
            key: keys of the batch, ``[kv_heads, tokens, head_size]``.
            value: likewise.
            scaling: factor of the scores.
            window: sliding window in positions; None for full attention.
            slopes: ALiBi's slope of each head, ``[heads]``; None without ALiBi.

        Returns:
            ``[heads, tokens, head_size]``.
        """
        if layer in self._cache:
            held_key, held_value = self._cache[layer]
            key, value = torch.cat([held_key, key], dim=1), torch.cat([held_value, value], dim=1)
        self.kept[layer] = self._keep_of(key), self._keep_of(value)
        key, value, poisoned = _without_poison(key, value)
        out = torch.empty_like(query)
        for block in self._blocks:
            chosen = block.keys_on(key.device)
            mask = block.mask(query, window)
            if slopes is not None:
                mask = mask + slopes[:, None, None] * block.key_positions.to(slopes)
            out[:, block.start : block.stop] = attend(
                query[:, block.start : block.stop], _pick(key, chosen), _pick(value, chosen), mask, scaling
            )
            if poisoned is not None:
                sees = (poisoned[chosen] & (mask if mask.dim() == 2 else mask[0]).isfinite()).any(dim=-1)
                out[:, block.start : block.stop][:, sees] = float("nan")
        return out

    def _keep_of(self, tensor: Tensor) -> Tensor:
        if self._keep.device != tensor.device:
            self._keep = self._keep.to(tensor.device)
        return tensor.index_select(1, self._keep)


def _pick(tensor: Tensor, index: Tensor | slice) -> Tensor:
    """Rows of the middle axis."""
    return tensor[:, index] if isinstance(index, slice) else tensor.index_select(1, index)


def _without_poison(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys and values with zeros where a token's are not finite, and which tokens these are.

    A masked key has weight 0, but 0 times NaN is NaN: one broken document would break its neighbours.
    """
    if (key.sum(dtype=torch.float32) + value.sum(dtype=torch.float32)).isfinite():
        return key, value, None
    broken = ~(key.isfinite() & value.isfinite()).all(dim=-1).all(dim=0)
    hole = broken[None, :, None]
    return key.masked_fill(hole, 0.0), value.masked_fill(hole, 0.0), broken
