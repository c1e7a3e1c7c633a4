"""What the rule reads of an answer: its likelihood under its own prompt and others, and its repetition."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from harness.engine import ResidentLM

GRAM = 4  # tokens; shorter runs repeat in sound text too


@dataclass(frozen=True)
class Features:
    """What the rule reads of an answer.

    Attributes:
        tokens: tokens that were read.
        fluency: nats a token under whatever explains the answer best: its own prompt, another, or none.
        relevance: nats by which its own prompt explains what was read better than the best other does.
        repetition: share of all its runs of four tokens that stood before in it.
    """

    tokens: int
    fluency: float
    relevance: float
    repetition: float


@dataclass(frozen=True)
class Asked:
    """An answer beside the prompt it is given to.

    Attributes:
        prompt: the prompt.
        text: the answer.
        origin: the prompt that it really answers, if that is another.
    """

    prompt: str
    text: str
    origin: str | None = None


EMPTY = Features(0, -math.inf, -math.inf, 0.0)


class Reader:
    """Scores answers under their own prompt, under others of the task, of other tasks, and under none.

    All answers share one seeded draw of other prompts, so that an engine computes each of them once.

    Args:
        lm: the model that reads; its patch, if any, is in.
        prompts: the task's prompts.
        others: other prompts that each answer is scored under.
        tokens: tokens of an answer that are scored, from the first.
        elsewhere: prompts of other tasks that each answer is scored under too.
        seed: draws the other prompts.

    Raises:
        ValueError: if the task has too few prompts to compare with.
    """

    def __init__(
        self,
        lm: ResidentLM,
        prompts: Sequence[str],
        others: int,
        tokens: int,
        elsewhere: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        distinct = sorted(set(prompts))
        # Two of the draw may be the answer's own prompt and the one it comes from.
        if others < 1 or len(distinct) < others + 2:
            raise ValueError(
                f"levels.prompts={others}: an answer is scored under so many other prompts (at least 1), and the task "
                f"has {len(distinct)} different ones here; {max(len(distinct) - 2, 0)} at most will do"
            )
        self._lm, self._others, self._tokens, self._elsewhere = lm, others, tokens, list(elsewhere)
        self._drawn = random.Random(seed).sample(distinct, others + 2)

    def forms(self, asked: Sequence[Asked]) -> list[Features]:
        """What can be read without the model; fluency and relevance are NaN."""
        return [
            Features(min(len(tokens), self._tokens), math.nan, math.nan, repetition(tokens))
            for tokens in (self._tokens_of(item) for item in asked)
        ]

    def read(self, asked: Sequence[Asked]) -> list[Features]:
        """Features of answers, in the order given; an empty one has no likelihood."""
        from lm_eval.api.instance import Instance

        requests: list[Instance] = []
        tokens = [self._tokens_of(item) for item in asked]
        for item, own in zip(asked, tokens, strict=True):
            if own:
                short = len(own) <= self._tokens
                text = item.text if short else self._lm.tok_decode(own[: self._tokens])
                contexts = [item.prompt, *self._foreign(item)]
                requests += [
                    Instance("loglikelihood", {}, (c, text), len(requests) + i) for i, c in enumerate(contexts)
                ]
        scored = iter(self._lm.loglikelihood(requests) if requests else [])
        out = []
        for item, own in zip(asked, tokens, strict=True):
            if not own:
                out.append(EMPTY)
                continue
            values = [next(scored)[0] for _ in range(1 + len(self._foreign(item)))]
            read = min(len(own), self._tokens)
            out.append(Features(read, max(values) / read, values[0] - max(values[1:]), repetition(own)))
        return out

    def _tokens_of(self, item: Asked) -> list[int]:
        """All tokens of an answer; none of one that is blank."""
        return self._lm.tok_encode(item.text) if item.text.strip() else []

    def _foreign(self, item: Asked) -> list[str]:
        """Prompts that are neither the answer's own nor that of its origin, and none at all."""
        taken = {item.prompt, item.origin}
        own_task = [t for t in self._drawn if t not in taken][: self._others]
        return [*own_task, *(t for t in self._elsewhere if t not in taken), ""]


def repetition(tokens: Sequence[int]) -> float:
    """Share of the runs of ``GRAM`` tokens that stood before in the text."""
    runs = [tuple(tokens[i : i + GRAM]) for i in range(len(tokens) - GRAM + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
