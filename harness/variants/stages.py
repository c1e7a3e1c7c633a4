"""The stages of LoRA-PAR's training, and the choice of a learning rate on what was held back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from harness.config.par import LoraParVariant
from harness.lora_par.rewards import INSTRUCTION, paper_reward
from harness.models import Base
from harness.training import Text, fine_tune
from harness.training.grpo import Prompt, optimise
from harness.variants.answering import asking, postprocessed
from harness.variants.items import Item


class Done(Protocol):
    """What a training leaves."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What was trained, by name."""

    def measured(self) -> dict[str, float]:
        """Its figures."""


@dataclass(frozen=True)
class Chosen:
    """The training of the best learning rate.

    Attributes:
        tensors: what was trained.
        figures: what it measured, its rate, and the held-back score of each rate that was tried.
    """

    tensors: dict[str, Tensor]
    figures: dict[str, Any]


def best_rate(
    rates: Sequence[float],
    own: float,
    parameters: Mapping[str, nn.Parameter],
    train: Callable[[float], Done],
    judge: Callable[[], float],
) -> Chosen:
    """Trains with each rate from the same start; the first of the best stays in the parameters.

    Args:
        rates: rates to try; empty for ``own`` alone, which is not judged.
        own: the config's rate.
        parameters: what is trained.
        train: trains with a rate from what is in the parameters.
        judge: score of what is in them.
    """
    start = {name: p.detach().clone() for name, p in parameters.items()}
    tried: dict[str, float] = {}
    best: tuple[float, float, Done] | None = None
    for rate in rates or [own]:
        put(parameters, start)
        done = train(rate)
        put(parameters, done.tensors)
        found = judge() if rates else 0.0
        tried[f"{rate:g}"] = found
        if best is None or found > best[0]:
            best = found, rate, done
    assert best is not None
    found, rate, done = best
    put(parameters, {**start, **done.tensors})
    held_back = {"held_back_score": found, "rates": tried} if rates else {}
    return Chosen(done.tensors, {**done.measured(), "learning_rate": rate, **held_back})


def tune(
    base: Base,
    names: Sequence[str],
    masks: Mapping[str, Tensor] | None,
    items: Sequence[Item],
    config: LoraParVariant,
    rate: float,
) -> Done:
    """SFT of some parameters, or of some of their elements."""
    texts = [Text(item.prompt, item.target) for item in items]
    settings = replace(config.sft, learning_rate=rate, seed=config.seed)
    return fine_tune(base.model, base.tokenizer, texts, names, settings, masks)


def reinforce(
    base: Base,
    adapted: Any,
    names: Sequence[str],
    masks: Mapping[str, Tensor] | None,
    items: Sequence[Item],
    config: LoraParVariant,
    rate: float,
) -> Done:
    """GRPO of some parameters, or of some of their elements."""
    before = config.instruction
    if before is None:
        before = INSTRUCTION if config.reward == "paper" else ""
    prompts = [Prompt(before + item.prompt, partial(worth, item, config.reward)) for item in items]
    settings = replace(config.rl, learning_rate=rate, seed=config.seed)
    return optimise(adapted, base.tokenizer, prompts, names, settings, masks)


def worth(item: Item, reward: str, text: str) -> float:
    """What an answer to an item is worth in RL."""
    if reward == "paper":
        return paper_reward(text, item.target)
    return float(item.grade(postprocessed(text, item.settings)) > 0)


def score(base: Base, items: Sequence[Item], config: LoraParVariant) -> float:
    """Share of items that the model, as it is now, answers rightly by its likeliest answers."""
    answers, questions = asking(base, items, config.rl.max_tokens, 1, config.seed)
    found = answers(questions, 0.0, 0)
    return sum(q.grade(a) > 0 for q, a in zip(questions, found, strict=True)) / len(questions)


@torch.no_grad()
def put(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Writes values into parameters."""
    for name, value in values.items():
        parameters[name].copy_(value)
