"""REINFORCE (Williams 1992) with a penalty on the distance to the base, without a baseline.

Transformer-Squared (Sun, Cetin & Tang, ICLR 2025), section 3.2: J = E[r log pi(y|x)] - kl D(pi, base), r = 1 for a
right answer and -1 for a wrong one. TRL's trainers subtract a baseline from the reward and estimate the penalty from
the drawn tokens; this objective has no baseline, and its penalty is over the whole vocabulary, in either direction.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel

from harness.config.training import RLConfig
from harness.training.inputs import Inputs, together
from harness.training.objective import DIRECTIONS, objective

logger = logging.getLogger(__name__)
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class Question:
    """A prompt and what its answers are worth.

    Attributes:
        prompt: token ids.
        name: what names it; seeds its answers.
        grade: 1 for a right answer, -1 for a wrong one.
        inputs: makes what the model takes beside the tokens, e.g. an image's pixels.
        about: what tells it from others of the same prompt, e.g. what names its image.
    """

    prompt: tuple[int, ...]
    name: str
    grade: Callable[[Sequence[int]], float]
    inputs: Callable[[], Inputs] = dict
    about: str = ""


@dataclass(frozen=True)
class Reinforced:
    """The best parameters of a training.

    Attributes:
        values: name -> the parameter at the best look.
        best_step: step of that look; 0 is before the first step.
        best_score: mean grade of the validation questions there.
        first_score: the same before training.
        steps: steps that were made.
        rewards: mean reward of each step.
        penalties: mean penalty of each step, in nats an answer.
        scores: step -> mean grade of the validation questions.
        seconds: wall-clock time, looks included.
    """

    values: dict[str, Tensor]
    best_step: int
    best_score: float
    first_score: float
    steps: int
    rewards: tuple[float, ...]
    penalties: tuple[float, ...]
    scores: dict[int, float]
    seconds: float


Answers = Callable[[Sequence[Question], float, int], list[list[int]]]


def reinforce(
    model: PreTrainedModel,
    answer: Answers,
    questions: Sequence[Question],
    held_back: Sequence[Question],
    parameters: Mapping[str, nn.Parameter],
    as_base: Callable[[], AbstractContextManager[object]],
    config: RLConfig,
) -> Reinforced:
    """Trains some parameters of a model in place, and leaves the best ones in it.

    Args:
        model: the model, its trained parameters in it.
        answer: (questions, temperature, seed) -> the tokens of an answer to each, under the model as it is.
        questions: what is learned from.
        held_back: what decides which step was the best; none of ``questions``.
        parameters: what is trained; everything else is frozen.
        as_base: context in which the model is the base, for the penalty.
        config: how.

    Raises:
        ValueError: if the settings or the questions cannot work.
        RuntimeError: if a gradient is not finite, or a trained parameter never moved.
    """
    _check(config, questions, held_back, parameters)
    started = time.monotonic()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(parameter is p for p in parameters.values()) or name in parameters)
    start = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = torch.optim.Adam(parameters.values(), lr=config.learning_rate)
    draw = _batches(len(questions), config)
    scores = {0: _score(answer, held_back, config)}
    best, kept, misses = 0, start, 0
    rewards, penalties = [], []
    with tqdm(total=config.steps, unit="step", desc="reinforcing", leave=False, disable=None) as bar:
        for step in range(1, config.steps + 1):
            batch = [questions[i] for i in next(draw)]
            reward, penalty = _step(model, answer, batch, parameters, as_base, optimizer, config, step)
            rewards.append(reward)
            penalties.append(penalty)
            bar.set_postfix_str(f"reward {reward:+.3f}, best {scores[best]:+.3f} at {best}")
            bar.update()
            if step % config.evaluate_every and step != config.steps:
                continue
            scores[step] = _score(answer, held_back, config)
            logger.info("step %d: reward %.3f, validation %.3f", step, reward, scores[step])
            if scores[step] > scores[best]:
                best, misses = step, 0
                kept = {name: p.detach().clone() for name, p in parameters.items()}
            else:
                misses += 1
            if config.patience is not None and misses >= config.patience:
                break
    if all(p.detach().equal(start[name]) for name, p in parameters.items()):
        raise RuntimeError("training moved nothing: is the learning rate, or the clip of the gradient, too small?")
    for name, parameter in parameters.items():
        parameter.data.copy_(kept[name])
    return Reinforced(
        values=kept,
        best_step=best,
        best_score=scores[best],
        first_score=scores[0],
        steps=len(rewards),
        rewards=tuple(rewards),
        penalties=tuple(penalties),
        scores=scores,
        seconds=round(time.monotonic() - started, 1),
    )


def _check(
    config: RLConfig,
    questions: Sequence[Question],
    held_back: Sequence[Question],
    parameters: Mapping[str, nn.Parameter],
) -> None:
    for name, known in (("schedule", SCHEDULES), ("kl_direction", DIRECTIONS)):
        if getattr(config, name) not in known:
            raise ValueError(f"train: {name} {getattr(config, name)!r}: expected {' or '.join(known)}")
    for name in ("learning_rate", "clip", "batch_size", "steps", "max_tokens", "evaluate_every"):
        if getattr(config, name) <= 0:
            raise ValueError(f"train: {name} {getattr(config, name)} is too small")
    if config.wrong >= 1:
        raise ValueError(f"train: wrong {config.wrong}: a wrong answer is rewarded less than a right one, which has 1")
    if config.kl < 0 or config.temperature < 0:
        raise ValueError(f"train: kl {config.kl} and temperature {config.temperature} cannot be negative")
    if not parameters:
        raise ValueError("train: no parameters")
    if len(questions) < config.batch_size or not held_back:
        raise ValueError(
            f"train: {len(questions)} questions to learn from and {len(held_back)} held back; a step takes "
            f"{config.batch_size}, and at least one must be held back"
        )
    if shared := {(q.prompt, q.about) for q in questions} & {(q.prompt, q.about) for q in held_back}:
        raise ValueError(f"train: {len(shared)} questions are both learned from and held back")


def _batches(count: int, config: RLConfig) -> Iterator[list[int]]:
    """Batches without replacement; what is left of a round comes into the next."""
    rng = random.Random(config.seed)
    left: list[int] = []
    while True:
        while len(left) < config.batch_size:
            left += rng.sample(range(count), count)
        yield left[: config.batch_size]
        left = left[config.batch_size :]


def _score(answer: Answers, questions: Sequence[Question], config: RLConfig) -> float:
    """Mean grade of the likeliest answers."""
    answers = answer(questions, 0.0, 0)
    return sum(q.grade(a) for q, a in zip(questions, answers, strict=True)) / len(questions)


def _step(
    model: PreTrainedModel,
    answer: Answers,
    batch: Sequence[Question],
    parameters: Mapping[str, nn.Parameter],
    as_base: Callable[[], AbstractContextManager[object]],
    optimizer: torch.optim.Optimizer,
    config: RLConfig,
    step: int,
) -> tuple[float, float]:
    """One update; returns the mean reward and the mean penalty."""
    answers = answer(batch, config.temperature, config.seed + step)
    grades = [q.grade(a) for q, a in zip(batch, answers, strict=True)]
    rewards = [1.0 if grade > 0 else config.wrong for grade in grades]
    held = config.device_batch_size or len(batch)
    optimizer.zero_grad(set_to_none=True)
    penalty = 0.0
    for i in range(0, len(batch), held):
        part_of = batch[i : i + held]
        prompts, more = [q.prompt for q in part_of], together([q.inputs() for q in part_of])
        loss, part = objective(model, prompts, answers[i : i + held], rewards[i : i + held], as_base, config, more)
        (loss / len(batch)).backward()
        penalty += part
    norm = nn.utils.clip_grad_norm_(list(parameters.values()), config.clip)
    if not math.isfinite(float(norm)):
        raise RuntimeError(f"step {step}: the gradient is not finite")
    share = (step - 1) / config.steps
    rate = 0.5 * (1 + math.cos(math.pi * share)) if config.schedule == "cosine" else 1.0
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * rate
    optimizer.step()
    return sum(rewards) / len(rewards), penalty / len(batch)
