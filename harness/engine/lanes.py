"""Texts that are generated side by side: their keys and values, and the attention of one step.

What several prompts share (a few-shot header, a prompt with n samples) is held once, as a `Segment`,
and each step attends to it once for all lanes that stand on it. The rest of a prompt and the text
itself lie in the lane's own row of one buffer. Attention over the parts is joined exactly, by their
log-sums. Lanes stand without gaps, so that a step costs what its live texts cost.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from harness.engine.attention import attend_few, attend_with_lse, join
from harness.engine.prompt_cache import PromptCache, Segment
from harness.engine.tree import Ints
from harness.engine.walk import KeysValues


class Lanes:
    """The lanes of one round of generation; implements `harness.engine.attention.Attends` for its steps."""

    def __init__(self, places: int, longest: int) -> None:
        """Lanes without texts.

        Args:
            places: texts side by side.
            longest: tokens that a lane may come to hold; its buffer never gets longer.
        """
        self.places, self._longest = places, longest
        self._own: KeysValues = {}  # layer -> [places, kv_heads, longest, head_size] each
        self._reached = 0  # tokens up to which the buffers hold numbers
        self._positions = torch.zeros(places, longest, dtype=torch.int64)
        self._lengths: list[int] = []
        self._segments: list[tuple[Segment, ...]] = []
        self._next: list[int] = []
        self._masks: dict[tuple[object, ...], Tensor] = {}
        self._places_of_step: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._segment_masks: dict[tuple[object, ...], Tensor | None] = {}
        self._moved: dict[tuple[object, ...], Tensor] = {}
        self._users: list[list[tuple[Segment, Tensor]]] = []

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def positions(self) -> Ints:
        """Position of each lane's next token."""
        return torch.tensor(self._next, dtype=torch.int64).numpy()

    def add(self, prompt: PromptCache) -> None:
        """Puts a prompt into the next lane."""
        lane, n = len(self), len(prompt.positions)
        assert lane < self.places, f"{self.places} lanes are taken"
        self._reserve(n + 1, prompt.cache)
        for layer, (key, value) in prompt.cache.items():
            own_key, own_value = self._own[layer]
            for own, new in ((own_key, key), (own_value, value)):
                own[lane, :, :n] = new
                # What a text before it left there could be NaN, and 0 x NaN is NaN.
                own[lane, :, n : self._reached] = 0.0
        self._positions[lane, :n] = torch.from_numpy(prompt.positions)
        self._lengths.append(n)
        self._segments.append(prompt.segments)
        self._next.append(prompt.length)
        self._changed()

    def keep(self, lanes: list[int]) -> list[int]:
        """Drops all other lanes; the last ones move into the gaps.

        Returns:
            For each lane that is left, the lane it was.
        """
        size = len(lanes)
        holes = sorted(set(range(size)) - set(lanes))
        order = list(range(size))
        for hole, source in zip(holes, [lane for lane in lanes if lane >= size], strict=True):
            order[hole] = source
            n = self._lengths[source]
            for key, value in self._own.values():
                for own in (key, value):
                    own[hole, :, :n] = own[source, :, :n]
                    own[hole, :, n : self._reached] = 0.0
            self._positions[hole, :n] = self._positions[source, :n]
        self._lengths = [self._lengths[lane] for lane in order]
        self._segments = [self._segments[lane] for lane in order]
        self._next = [self._next[lane] for lane in order]
        self._changed()
        return order

    def shrink(self) -> None:
        """Gives up the places that are free, and their memory."""
        self.places = len(self)
        for layer, pair in self._own.items():
            fresh = [self._buffer(buffer[0]) for buffer in pair]
            for new, old in zip(fresh, pair, strict=True):
                new[:, :, : self._reached] = old[: self.places, :, : self._reached]
            self._own[layer] = fresh[0], fresh[1]
        self._positions = self._positions[: self.places]

    def prepare(self) -> None:
        """Makes room for one token in every lane; called before each step."""
        self._reserve(max(self._lengths) + 1)
        rows = torch.arange(len(self))
        self._positions[rows, torch.tensor(self._lengths)] = torch.tensor(self._next)
        self._forget_step()

    def advance(self) -> None:
        """Every lane has taken its token; called after each step that succeeded."""
        self._lengths = [n + 1 for n in self._lengths]
        self._next = [n + 1 for n in self._next]

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
        rows, slots = self._slots(key.device)
        own_key[rows, :, slots], own_value[rows, :, slots] = key.transpose(0, 1), value.transpose(0, 1)
        # Query heads of one key head become its queries, so that keys are never repeated.
        grouped = query.view(kv_heads, heads // kv_heads, lanes, size).permute(2, 0, 1, 3)
        longest = max(self._lengths) + 1
        keys, values = own_key[:lanes, :, :longest], own_value[:lanes, :, :longest]
        mask = self._own_mask(grouped, longest, window)
        if slopes is not None:
            at = self._positions[:lanes, None, None, :longest].to(slopes)
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
        """Attention to the segments of one depth; no lane stands on two of them."""
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

    def _own_mask(self, like: Tensor, longest: int, window: int | None) -> Tensor:
        """Additive mask over the lanes' own tokens, ``[lanes, 1, 1, longest]``."""
        key = (like.dtype, like.device, window)
        if key not in self._masks:
            hidden = torch.arange(longest) > torch.tensor(self._lengths)[:, None]
            if window is not None:
                distance = torch.tensor(self._next)[:, None] - self._positions[: len(self), :longest]
                hidden |= distance >= window
            mask = torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
            self._masks[key] = mask[:, None, None].to(device=like.device, dtype=like.dtype)
        return self._masks[key]

    def _segment_mask(
        self, segment: Segment, users: Tensor, like: Tensor, window: int | None, slopes: Tensor | None
    ) -> Tensor | None:
        """Additive mask over a segment, ``[kv_heads or 1, users x group, tokens]``; None if all is seen."""
        _, kv_heads, group, _ = like.shape
        mask: Tensor | None = None
        known = (id(segment), like.device, window)
        if slopes is None and known in self._segment_masks:
            return self._segment_masks[known]
        if window is not None:
            distance = torch.tensor(self._next)[users][:, None] - segment.positions
            hidden = (distance >= window).repeat_interleave(group, dim=0)
            if hidden.any():
                mask = torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf")).to(like.device)[None]
        if slopes is not None:
            bias = slopes.view(kv_heads, group, 1) * segment.positions.to(slopes)
            bias = bias.repeat(1, len(users), 1)
            mask = bias if mask is None else mask + bias
        else:
            self._segment_masks[known] = mask
        return mask

    def _on_device(self, users: Tensor, device: torch.device) -> Tensor:
        """Lanes of a segment on a layer's device, copied there once."""
        key = (id(users), device)
        if key not in self._moved:
            self._moved[key] = users.to(device)
        return self._moved[key]

    def _reserve(self, tokens: int, like: KeysValues | None = None) -> None:
        """Makes every lane hold this many tokens of its own.

        Buffers have their full length from the start but are written only as far as texts have come: a
        CPU gives memory to what is written, and on a GPU the budget allows for the full length.
        """
        if like and not self._own:
            self._own = {layer: (self._buffer(k), self._buffer(v)) for layer, (k, v) in like.items()}
        assert tokens <= self._longest, f"{tokens} tokens in a lane for {self._longest}"
        if tokens > self._reached:
            for buffer in self._buffers():
                buffer[:, :, self._reached : tokens] = 0.0
            self._reached = tokens

    def _buffer(self, like: Tensor) -> Tensor:
        # Of a buffer the first axis is the lanes; a prompt's cache starts with the heads.
        return like.new_empty(self.places, like.shape[0], self._longest, like.shape[2])

    def _buffers(self) -> Iterator[Tensor]:
        for pair in self._own.values():
            yield from pair

    def _changed(self) -> None:
        """Finds again who stands on which segment."""
        levels: dict[int, dict[Segment, list[int]]] = {}
        for lane, segments in enumerate(self._segments):
            for segment in segments:
                levels.setdefault(segment.depth, {}).setdefault(segment, []).append(lane)
        self._users = [[(s, torch.tensor(u)) for s, u in levels[depth].items()] for depth in sorted(levels)]
        self._moved.clear()
        self._forget_step()

    def _forget_step(self) -> None:
        self._masks.clear()
        self._segment_masks.clear()
        self._places_of_step.clear()

    def _slots(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Lane and place in its row of each new token, on a layer's device."""
        if device not in self._places_of_step:
            rows = torch.arange(len(self), device=device)
            self._places_of_step[device] = rows, torch.tensor(self._lengths, device=device)
        return self._places_of_step[device]
