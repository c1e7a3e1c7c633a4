"""Texts that are generated side by side, and where their keys and values lie.

What several prompts share (a few-shot header, a prompt with n samples) is held once, as a `Segment`.
The rest of a prompt and the text itself lie in the lane's own row of one buffer. Lanes stand without
gaps, so that a step costs what its live texts cost.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from harness.engine.prompt_cache import PromptCache, Segment
from harness.engine.step import Step, Users
from harness.engine.tree import Ints
from harness.engine.walk import KeysValues


class Lanes:
    """The lanes of one round of generation."""

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
        self._users: Users = []

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

    def step(self) -> Step:
        """The next step, with room for one token in every lane; `advance` when it has succeeded."""
        self._reserve(max(self._lengths) + 1)
        rows = torch.arange(len(self))
        self._positions[rows, torch.tensor(self._lengths)] = torch.tensor(self._next)
        return Step(self._own, self._positions, self._lengths, self._next, self._users)

    def advance(self) -> None:
        """Every lane has taken its token; called after each step that succeeded."""
        self._lengths = [n + 1 for n in self._lengths]
        self._next = [n + 1 for n in self._next]

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
