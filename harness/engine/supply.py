"""Prompts, computed as a prefix tree and handed out when lanes fall free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from harness.engine.accounting import Accounting
from harness.engine.lanes import PromptCache, Segment
from harness.engine.tree import Ints, PrefixTree
from harness.engine.walk import Core, KeysValues, Walk

# Shared stretches shorter than this are copied into each lane: attending to one costs a call a layer.
SHARED = 32


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

    def __init__(self, core: Core, prompts: Sequence[Ints], slice_tokens: int, accounting: Accounting) -> None:
        self._tree = PrefixTree.of(prompts)
        self._walk = Walk(core, self._tree, slice_tokens, accounting)
        askers: dict[int, list[int]] = {}
        for request, last in enumerate(self._tree.lasts):
            askers.setdefault(int(last), []).append(request)
        self._askers = dict(sorted(askers.items()))
        self._waiting = list(self._askers)  # last tokens of prompts not yet computed, in pre-order
        self._shared = [run for run in self._tree.runs if run.users > 1 and run.stop - run.start >= SHARED]
        self._segments: dict[int, Segment] = {}  # start of a run -> what it became

    @property
    def left(self) -> bool:
        """Prompts are still to be computed."""
        return bool(self._waiting)

    @property
    def tokens(self) -> int:
        """Distinct tokens of all prompts."""
        return len(self._tree)

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
        runs = [run for run in self._shared if start < run.stop <= end]
        lasts = [last for last in self._waiting if last < end]
        wanted = [np.arange(run.start, run.stop) for run in runs]
        paths = {last: self._tree.path(last) for last in lasts}
        shares = {last: self._on(path) for last, path in paths.items()}
        wanted += [self._rest(paths[last], shares[last]) for last in lasts]
        hidden, caches = self._walk.advance(end, wanted)
        reached = self._walk.at  # less than asked for if memory ran out
        for run, cache in zip(runs, caches, strict=False):
            if run.stop <= reached:
                self._segments[run.start] = self._segment(run.start, run.stop, cache)
        out = []
        for last, cache in zip(lasts, caches[len(runs) :], strict=True):
            if last < reached:
                out.append(self._ready(last, paths[last], shares[last], cache, hidden[last - start]))
        self._waiting = self._waiting[len(out) :]
        self._forget(reached)
        return out

    def _on(self, path: Ints) -> list[tuple[int, int]]:
        """Shared runs that lie on a path, outermost first."""
        return [(run.start, run.stop) for run in self._shared if _within(run.start, path)]

    def _rest(self, path: Ints, shares: list[tuple[int, int]]) -> Ints:
        """What of a path no segment holds."""
        held = np.zeros(len(path), dtype=bool)
        for start, stop in shares:
            held |= (path >= start) & (path < stop)
        return path[~held]

    def _segment(self, start: int, stop: int, cache: KeysValues) -> Segment:
        depth = sum(1 for run in self._shared if run.start < start < self._tree.ends[run.start])
        return Segment(depth, Tensor(self._tree.positions[start:stop]).long(), cache)

    def _ready(self, last: int, path: Ints, shares: list[tuple[int, int]], cache: KeysValues, hidden: Tensor) -> Ready:
        prompt = PromptCache(
            segments=tuple(self._segments[start] for start, _ in shares),
            positions=self._tree.positions[self._rest(path, shares)],
            cache=cache,
            length=len(path),
        )
        return Ready(tuple(self._askers[last]), prompt, hidden)

    def _forget(self, reached: int) -> None:
        """Lets go of segments that no prompt to come stands on; lanes that do keep them alive."""
        self._segments = {s: segment for s, segment in self._segments.items() if self._tree.ends[s] > reached}
        self._shared = [run for run in self._shared if self._tree.ends[run.start] > reached]


def _within(token: int, path: Ints) -> bool:
    at = np.searchsorted(path, token)
    return bool(at < len(path) and path[at] == token)
