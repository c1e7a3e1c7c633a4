"""Prompts, computed as a prefix tree and handed out when lanes fall free."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from harness.engine.accounting import Accounting
from harness.engine.prompt_cache import PromptCache, Segment
from harness.engine.tree import Ints, PrefixTree, Run, TokenIds
from harness.engine.walk import Core, KeysValues, Walk

# Tokens that need not be read for each lane, from which on a shared stretch is held once: attending to one
# costs some calls a layer, as much time as reading about so many tokens.
SHARED = 1024


@dataclass(frozen=True)
class Ready:
    """A prompt that can be continued.

    Attributes:
        requests: who asked for it: several where samples are drawn.
        prompt: its keys and values.
        hidden: the hidden state behind its last token, ``[hidden]``.
    """

    requests: tuple[int, ...]
    prompt: PromptCache
    hidden: Tensor


class Supply:
    """Computes prompts in pre-order, no more of them than are asked for.

    Args:
        core: the model.
        prompts: tokens of each request's prompt.
        slice_tokens: tokens of a batch.
        accounting: counts tokens.
    """

    def __init__(self, core: Core, prompts: Sequence[TokenIds], slice_tokens: int, accounting: Accounting) -> None:
        self._tree = PrefixTree.of(prompts)
        self._walk = Walk(core, self._tree, slice_tokens, accounting)
        askers: dict[int, list[int]] = {}
        for request, last in enumerate(self._tree.lasts):
            askers.setdefault(int(last), []).append(request)
        self._askers = dict(sorted(askers.items()))
        self._waiting = list(self._askers)  # last tokens of prompts not yet computed, in pre-order
        self._shared = [run for run in self._tree.runs if _is_shared(run)]  # those to come, by their ends
        self._segments: dict[int, Segment] = {}  # start of a run -> what it became

    @property
    def left(self) -> bool:
        """Prompts are still to be computed."""
        return bool(self._waiting)

    @property
    def tokens(self) -> int:
        """Distinct tokens of all prompts."""
        return len(self._tree)

    @property
    def shared(self) -> int:
        """Tokens of all segments together."""
        return sum(run.stop - run.start for run in self._tree.runs if _is_shared(run))

    @cached_property
    def own(self) -> list[int]:
        """Tokens of each request's prompt that no segment holds."""
        own = {last: len(self._rest(last, self._on(last))) for last in self._askers}
        return [own[int(last)] for last in self._tree.lasts]

    def take(self, requests: int) -> list[Ready]:
        """Computes prompts for at least one and at most about this many requests."""
        asked = 0
        target = self._walk.at
        for last in self._waiting:
            if asked and asked + len(self._askers[last]) > requests:
                break
            asked += len(self._askers[last])
            target = last + 1
        out: list[Ready] = []
        while self._walk.at < target:
            out += self._advance(target)
        return out

    def _advance(self, target: int) -> list[Ready]:
        """One slice; shared runs and prompts that end in it are taken out of it."""
        start = self._walk.at
        end = min(target, start + self._walk.slice_tokens)
        runs = self._shared[: bisect_right(self._shared, end, key=lambda run: run.stop)]
        lasts = self._waiting[: bisect_left(self._waiting, end)]
        wanted = [np.arange(run.start, run.stop) for run in runs]
        shares = {last: self._on(last) for last in lasts}
        rests = {last: self._rest(last, shares[last]) for last in lasts}
        hidden, caches = self._walk.advance(end, [*wanted, *rests.values()])
        reached = self._walk.at  # less than asked for if memory ran out
        for run, cache in zip(runs, caches, strict=False):
            if run.stop <= reached:
                self._segments[run.start] = self._segment(run, cache)
        out = []
        for last, cache in zip(lasts, caches[len(runs) :], strict=True):
            if last < reached:
                # A copy: a view would keep the whole slice's states alive.
                out.append(self._ready(last, rests[last], shares[last], cache, hidden[last - start].clone()))
        self._waiting = self._waiting[len(out) :]
        self._forget(reached)
        return out

    def _on(self, last: int) -> list[Run]:
        """Shared runs that lie on a prompt, outermost first."""
        return [run for run in self._tree.run_chain(last) if _is_shared(run)]

    def _rest(self, last: int, shares: list[Run]) -> Ints:
        """What of a prompt no segment holds."""
        path = self._tree.path(last)
        held = np.zeros(len(path), dtype=bool)
        for run in shares:
            held |= (path >= run.start) & (path < run.stop)
        return path[~held]

    def _segment(self, run: Run, cache: KeysValues) -> Segment:
        positions = torch.from_numpy(self._tree.positions[run.start : run.stop])
        return Segment(len(self._on(run.start)) - 1, positions, cache)

    def _ready(self, last: int, rest: Ints, shares: list[Run], cache: KeysValues, hidden: Tensor) -> Ready:
        prompt = PromptCache(
            segments=tuple(self._segments[run.start] for run in shares),
            positions=self._tree.positions[rest],
            cache=cache,
            length=int(self._tree.positions[last]) + 1,
        )
        return Ready(tuple(self._askers[last]), prompt, hidden)

    def _forget(self, reached: int) -> None:
        """Lets go of segments that no prompt to come stands on; lanes that do keep them alive."""
        self._segments = {s: segment for s, segment in self._segments.items() if self._tree.ends[s] > reached}
        self._shared = self._shared[bisect_right(self._shared, reached, key=lambda run: run.stop) :]


def _is_shared(run: Run) -> bool:
    return (run.users - 1) * (run.stop - run.start) >= SHARED
