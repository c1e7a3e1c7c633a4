"""How often a judge agrees with the labelled set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

RESAMPLES = 2_000


class Judged(Protocol):
    """An example with what the judge said of it."""

    @property
    def kind(self) -> str:
        """How it was made."""

    @property
    def truth(self) -> int:
        """Its level, 1 to 4."""

    @property
    def source(self) -> str:
        """The document that its text comes from."""

    @property
    def judged(self) -> int | None:
        """What the judge said."""


@dataclass(frozen=True)
class Agreement:
    """Agreement over what the judge decides; right answers are left out: the task's scorer decides them.

    Attributes:
        balanced: mean of the agreements with examples of level I, II and III, each taken alone.
        low: lower end of its 95% interval (documents drawn with replacement, with all that was made of them).
        high: upper end.
        right: examples on which the judge is right, of all levels.
        n: examples.
    """

    balanced: float
    low: float
    high: float
    right: int
    n: int


def confusion(examples: Sequence[Judged]) -> dict[str, tuple[int, list[int]]]:
    """For each kind its true level, and how many were judged I, II, III, IV, and not at all."""
    out: dict[str, tuple[int, list[int]]] = {}
    for e in examples:
        row = out.setdefault(e.kind, (e.truth, [0] * 5))[1]
        row[4 if e.judged is None else e.judged - 1] += 1
    return dict(sorted(out.items(), key=lambda item: item[1][0]))


def agreement(examples: Sequence[Judged], seed: int = 0) -> Agreement | None:
    """Agreement with its interval; None where the judge decides nothing."""
    decided = [e for e in examples if e.truth != 4]
    if not decided:
        return None
    sources = {source: i for i, source in enumerate(dict.fromkeys(e.source for e in decided))}
    # Documents x levels: examples, and those that were judged right.
    all_DL, right_DL = np.zeros((len(sources), 3)), np.zeros((len(sources), 3))
    for e in decided:
        all_DL[sources[e.source], e.truth - 1] += 1
        right_DL[sources[e.source], e.truth - 1] += e.judged == e.truth
    rng = np.random.default_rng(seed)
    drawn_RD = rng.multinomial(len(sources), np.full(len(sources), 1 / len(sources)), size=RESAMPLES)
    shares = _balanced(drawn_RD @ right_DL, drawn_RD @ all_DL)
    low, high = np.quantile(shares, [0.025, 0.975])
    value = _balanced(right_DL.sum(0, keepdims=True), all_DL.sum(0, keepdims=True))
    return Agreement(float(value[0]), float(low), float(high), int(right_DL.sum()), len(decided))


def _balanced(right: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Mean over the levels that have examples, resample by resample."""
    there = every > 0
    shares = np.divide(right, every, out=np.zeros_like(right, dtype=float), where=there)
    return shares.sum(1) / np.maximum(there.sum(1), 1)
