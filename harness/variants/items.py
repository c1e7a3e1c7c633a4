"""What LoRA-PAR learns from: a task's training documents, or texts of a data set, as items of one kind."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config.par import LoraParVariant
from harness.lora_par.rewards import gold_in
from harness.training import read_texts
from harness.variants.context import Context, GradedQuestion


@dataclass(frozen=True)
class Item:
    """A training item; for its grading it stands in for a question of a task.

    Attributes:
        name: what names it.
        prompt: as it is asked.
        question: what it asks, without shots.
        target: its answer, as text behind the prompt.
        settings: generation settings.
        digest: what its grades depend on.
        truth: ``system1`` or ``system2`` where that is known.
        source: the task's question; None for a text.
    """

    name: str
    prompt: str
    question: str
    target: str
    settings: Mapping[str, Any]
    digest: str
    truth: str | None
    source: GradedQuestion | None = None
    images: tuple[object, ...] = ()

    def grade(self, text: str) -> float:
        """1 for a right answer, else -1; an answer to a text is right if it is the text's own."""
        if self.source is not None:
            return self.source.grade(text)
        return 1.0 if text.strip() == gold_in(self.target) or text.strip() == self.target.strip() else -1.0


def items_of(config: LoraParVariant, context: Context) -> list[Item]:
    """All items, in their order.

    Raises:
        ValueError: for both tasks and texts or neither, or documents that have no answer to learn.
    """
    if bool(config.tasks) == (config.texts is not None):
        raise ValueError("lora_par: give what is learned from, either variant.tasks=[gsm8k] or variant.texts={...}")
    if config.texts is not None:
        texts = read_texts(config.texts, context.data)
        own = f"{config.texts.path}/{config.texts.name or 'default'}"
        return [
            Item(
                f"{own}/{i}", t.prompt, t.prompt, t.completion, {},
                hashlib.sha256(f"{t.prompt}|{t.completion}".encode()).hexdigest(), None,
            )
            for i, t in enumerate(texts)
        ]  # fmt: skip
    if context.questions is None:
        raise ValueError("lora_par: no tasks to learn from here")
    out = []
    for task in config.tasks:
        for q in context.questions(task, config.task_settings, config.questions):
            if q.images:
                raise ValueError(f"lora_par: {task} asks about images, which texts alone are learned from")
            question = getattr(q, "text", q.prompt)
            out.append(
                Item(
                    q.name, q.prompt, question, q.target, q.settings, q.digest,
                    getattr(q, "truth", None), q,
                )
            )  # fmt: skip
    return out


def held_back(items: Sequence[Item], count: int, seed: int) -> tuple[list[Item], list[Item]]:
    """Items to learn from and items held back, at random, each in their order.

    Raises:
        ValueError: if that leaves nothing to learn from.
    """
    if not 0 <= count < len(items):
        raise ValueError(f"lora_par: held_back {count} of {len(items)} items leaves nothing to learn from")
    apart = set(random.Random(seed).sample(range(len(items)), count))
    return (
        [item for i, item in enumerate(items) if i not in apart],
        [item for i, item in enumerate(items) if i in apart],
    )
