"""The rule that gives an answer its level, and its thresholds, which the base model's own answers set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.stethoscope.levels.features import Features

LEVELS = ("I", "II", "III", "IV")
RULE = (
    "IV: the task's scorer calls it right. Else I: no text, fewer than `shortest` tokens, a fluency below `fluency`, "
    "or more repetition than `repetition`. Else II: a relevance below `relevance`. Else III."
)


TAIL = 0.05  # of the base's answers, which may be odd


@dataclass(frozen=True)
class Thresholds:
    """Where one level ends and the next begins.

    Attributes:
        fluency: least nats a token of what is language.
        relevance: least nats by which an answer's own prompt explains it better than the best other.
        repetition: largest share of repeated runs.
        shortest: least tokens.
    """

    fluency: float
    relevance: float
    repetition: float
    shortest: float


def level_of(features: Features, right: bool, thresholds: Thresholds) -> int:
    """The level of an answer, 1 to 4 (see ``RULE``)."""
    if right:
        return 4
    if degenerate(features, thresholds):
        return 1
    assert not math.isnan(features.fluency), "an answer that its form does not settle has to be scored"
    if features.fluency < thresholds.fluency:
        return 1
    return 2 if features.relevance < thresholds.relevance else 3


def degenerate(features: Features, thresholds: Thresholds) -> bool:
    """Its form alone makes an answer level I: empty, far too short, or going in circles."""
    return not features.tokens or features.tokens < thresholds.shortest or features.repetition > thresholds.repetition


def calibrate(
    own: Sequence[Features], swapped: Sequence[Features], language: Sequence[Features], shuffled: Sequence[Features]
) -> Thresholds:
    """Thresholds from the base model's answers.

    Args:
        own: its answers beside their own prompts.
        swapped: the same beside other prompts of the task: not about what was asked.
        language: those, and its answers to other tasks: language, but not about what was asked.
        shuffled: the same with their words in another order: not language.

    Raises:
        ValueError: if one of them is empty: the base model wrote nothing to learn from.
    """
    if not (own and swapped and shuffled):
        raise ValueError(
            f"levels: the base model left {len(own)} answers that can be read, {len(swapped)} to swap and "
            f"{len(shuffled)} to shuffle; thresholds need some of each"
        )
    return Thresholds(
        fluency=cut([f.fluency for f in (*own, *language)], [f.fluency for f in shuffled]),
        relevance=cut([f.relevance for f in own], [f.relevance for f in swapped]),
        # Nothing in these answers shows where too much begins: half way to all of it. Quantiles, since a base
        # model goes in circles now and then itself.
        repetition=(1 + float(np.quantile([f.repetition for f in own], 1 - TAIL))) / 2,
        shortest=float(np.quantile([f.tokens for f in own], TAIL)) / 2,
    )


def cut(above: Sequence[float], below: Sequence[float]) -> float:
    """The threshold with the highest balanced accuracy; of several the middle of the widest gap."""
    a, b = np.sort(np.asarray(above, dtype=float)), np.sort(np.asarray(below, dtype=float))
    values = np.unique(np.concatenate([a, b]))
    edges = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    kept = 1 - np.searchsorted(a, edges, side="left") / len(a)
    refused = np.searchsorted(b, edges, side="left") / len(b)
    accuracy = kept + refused
    best = np.flatnonzero(np.isclose(accuracy, accuracy.max(), rtol=0, atol=1e-12))
    gaps = np.diff(values) if len(values) > 1 else np.zeros(1)
    return float(edges[best[np.argmax(gaps[best])]])
