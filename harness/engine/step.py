"""The attention of one step of generation: one token for every lane.

What several lanes share is attended to once for all of them, what a lane holds itself by itself;
attention over the parts is joined exactly, by their log-sums.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.engine.attention import attend_few, attend_with_lse, join
from harness.engine.prompt_cache import Segment
from harness.engine.walk import KeysValues

Users = list[list[tuple[Segment, Tensor]]]  # depth -> its segments and the lanes that stand on each


class Step:
    """One token for every lane; implements `harness.engine.attention.Attends`.

    Args:
        own: layer -> keys and values of the lanes, ``[places, kv_heads, longest, head_size]`` each; the
            step writes each lane's new token behind its last one.
        positions: positions of these tokens, ``[places, longest]``.
        lengths: tokens that each lane holds without the new one.
        following: position of each lane's new token.
        users: who stands on which segment; no lane stands on two of one depth.
    """

    def __init__(
        self, own: KeysValues, positions: Tensor, lengths: list[int], following: list[int], users: Users
    ) -> None:
        self._own, self._positions, self._users = own, positions, users
        self._lengths, self._next = torch.tensor(lengths), torch.tensor(following)
        self._longest = max(lengths) + 1
        self._masks: dict[tuple[object, ...], Tensor | None] = {}
        self._moved: dict[tuple[object, ...], Tensor] = {}

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
        """Attention of one token a lane; see `harness.engine.blocks.Slice.attend`."""
        (heads, lanes, size), kv_heads = query.shape, key.shape[0]
        own_key, own_value = self._own[layer]
        slots = self._on_device(self._lengths, key.device)
        rows = torch.arange(lanes, device=key.device)
        own_key[rows, :, slots], own_value[rows, :, slots] = key.transpose(0, 1), value.transpose(0, 1)
        # Query heads of one key head become its queries, so that keys are never repeated.
        grouped = query.view(kv_heads, heads // kv_heads, lanes, size).permute(2, 0, 1, 3)
        keys, values = own_key[:lanes, :, : self._longest], own_value[:lanes, :, : self._longest]
        mask = self._own_mask(query, window)
        if slopes is not None:
            at = self._positions[:lanes, None, None, : self._longest].to(slopes)
            mask = mask + slopes.view(1, kv_heads, -1, 1) * at
        if self._users:
            parts = [attend_with_lse(grouped, keys, values, scaling, mask)]
            parts += [self._level(level, layer, grouped, scaling, window, slopes) for level in self._users]
            out = join(parts).to(query.dtype)
        else:
            out = attend_few(grouped, keys, values, mask, scaling)
        return out.permute(1, 2, 0, 3).reshape(heads, lanes, size)

    def _level(
        self,
        level: list[tuple[Segment, Tensor]],
        layer: int,
        query: Tensor,
        scaling: float,
        window: int | None,
        slopes: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Attention to the segments of one depth."""
        _, kv_heads, group, size = query.shape
        out = query.new_zeros(query.shape, dtype=torch.float32)
        lse = query.new_full(query.shape[:-1], float("-inf"), dtype=torch.float32)
        for segment, users in level:
            key, value = segment.cache[layer]
            here = self._on_device(users, query.device)
            asked = query[here].transpose(0, 1).reshape(kv_heads, -1, size)
            mask = self._segment_mask(segment, users, query, window, slopes)
            part, part_lse = attend_with_lse(asked, key, value, scaling, mask)
            out[here] = part.view(kv_heads, -1, group, size).transpose(0, 1)
            lse[here] = part_lse.view(kv_heads, -1, group).transpose(0, 1)
        return out, lse

    def _own_mask(self, like: Tensor, window: int | None) -> Tensor:
        """Additive mask over the lanes' own tokens, ``[lanes, 1, 1, longest]``."""
        known = (like.dtype, like.device, window)
        if known not in self._masks:
            hidden = torch.arange(self._longest) > self._lengths[:, None]
            if window is not None:
                distance = self._next[:, None] - self._positions[: len(hidden), : self._longest]
                hidden |= distance >= window
            mask = torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
            self._masks[known] = mask[:, None, None].to(device=like.device, dtype=like.dtype)
        out = self._masks[known]
        assert out is not None
        return out

    def _segment_mask(
        self, segment: Segment, users: Tensor, like: Tensor, window: int | None, slopes: Tensor | None
    ) -> Tensor | None:
        """Additive mask over a segment, ``[kv_heads or 1, users x group, tokens]``; None if all is seen."""
        _, kv_heads, group, _ = like.shape
        known = (id(segment), like.device, window)
        if known not in self._masks:
            self._masks[known] = None
            if window is not None:
                distance = self._next[users][:, None] - segment.positions
                hidden = (distance >= window).repeat_interleave(group, dim=0)
                if hidden.any():
                    mask = torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
                    self._masks[known] = mask.to(like.device)[None]
        unseen = self._masks[known]
        if slopes is None:
            return unseen
        bias = slopes.view(kv_heads, group, 1) * segment.positions.to(slopes)
        bias = bias.repeat(1, len(users), 1)
        return bias if unseen is None else unseen + bias

    def _on_device(self, tensor: Tensor, device: torch.device) -> Tensor:
        """On a layer's device, copied there once."""
        known = (id(tensor), device)
        if known not in self._moved:
            self._moved[known] = tensor.to(device)
        return self._moved[known]
