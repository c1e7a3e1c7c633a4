"""Questions put to a model while it is trained: answered by the engine, graded by their task."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lm_eval.models.utils import postprocess_generated_text

from harness.config.training import RLConfig
from harness.engine import EngineSettings, Sampling, TextRequest, TreeLM, open_engine
from harness.models import Base
from harness.training.reinforce import Answers, Question, Reinforced, reinforce
from harness.variants.context import GradedQuestion, stops_of
from harness.variants.seeing import Seeing


def reinforced(
    base: Base,
    adapted: object,
    questions: Sequence[GradedQuestion],
    held_back: int,
    config: RLConfig,
) -> Reinforced:
    """Trains an injected adapter on questions; the best parameters are left in it.

    Args:
        base: the base that holds the adapter.
        adapted: PEFT's model.
        questions: what is learned from and held back.
        held_back: how many are held back, at random.
        config: how.

    Raises:
        ValueError: if the settings cannot work, or the engine cannot generate with this model.
    """
    if held_back < 1:
        raise ValueError(f"held_back {held_back}: at least one question must be held back to choose the best step")
    inner = base.model
    answering, items = asking(
        base, questions, config.max_tokens, config.device_batch_size or config.batch_size, config.seed
    )
    random.Random(config.seed).shuffle(items)
    return reinforce(
        inner,
        answering,
        items[held_back:],
        items[:held_back],
        trained_parameters(inner),
        adapted.disable_adapter,  # type: ignore[attr-defined] # PEFT's model
        config,
    )


def asking(
    base: Base, questions: Sequence[GradedQuestion], max_tokens: int, side_by_side: int, seed: int
) -> tuple[Answers, list[Question]]:
    """What answers questions under the model as it is, and the questions as it takes them.

    Args:
        base: the base, with or without an adapter in it.
        questions: all about images, or none.
        max_tokens: tokens of an answer.
        side_by_side: questions about images that are asked together.
        seed: of drawn answers.

    Raises:
        ValueError: if the engine cannot generate with this model.
    """
    if any(q.images for q in questions):
        seeing = Seeing(base, max_tokens, side_by_side)
        return seeing, seeing.questions(questions)
    lm = open_engine(base.model, base.tokenizer, "tree", EngineSettings(seed=seed))
    if not isinstance(lm, TreeLM):
        raise ValueError(f"the engine cannot generate with {base.name}, so there is nothing to reinforce")
    return _Answering(lm, {q.name: q for q in questions}, max_tokens), [_question(lm, q) for q in questions]


def trained_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """What an injected adapter trains: the base's own parameters have no gradients."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _question(lm: TreeLM, asked: GradedQuestion) -> Question:
    grades: dict[str, float] = {}

    def grade(tokens: Sequence[int]) -> float:
        text = postprocessed(lm.tok_decode(list(tokens)), asked.settings)
        if text not in grades:  # the same answer comes again and again, and a program takes a while to run
            grades[text] = asked.grade(text)
        return grades[text]

    return Question(tuple(lm.tok_encode(asked.prompt)), asked.name, grade)


def postprocessed(text: str, settings: Mapping[str, Any]) -> str:
    """An answer as its task sees it: up to what ends it."""
    return str(postprocess_generated_text(text, stops_of(settings), None))


@dataclass(frozen=True)
class _Answering:
    """Answers of the model as it is now; drawn ones depend on the question and the seed alone."""

    lm: TreeLM
    asked: Mapping[str, GradedQuestion]
    max_tokens: int

    def __call__(self, questions: Sequence[Question], temperature: float, seed: int) -> list[list[int]]:
        texts = [
            TextRequest(
                np.array(q.prompt, dtype=np.int32),
                self.max_tokens,
                False,
                tuple(stops_of(self.asked[q.name].settings)),
                f"{q.name}|{seed}",
            )
            for q in questions
        ]
        sampling = Sampling(do_sample=True, temperature=temperature) if temperature else Sampling()
        return self.lm.generate(texts, sampling, quiet=True)
