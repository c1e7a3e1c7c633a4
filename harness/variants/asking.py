"""Asking a model what kind a question is, and reading its answer (Transformer-Squared, section 3.2, A and B)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from harness.config.tuning import AskConfig
from harness.engine import ResidentLM
from harness.models import Base
from harness.patch import Patch, Query, Routing, Stage

PLACE = "{question}"
Chat = Callable[[list[dict[str, str]]], str]


@dataclass(frozen=True)
class Asking:
    """A prompt, and how its answers are read.

    Attributes:
        config: both.
        categories: what can be answered.
        others: the category of what cannot be read.
        chat: renders a chat as a prompt, where the run asks for that.
    """

    config: AskConfig
    categories: tuple[str, ...]
    others: str
    chat: Chat | None = None

    def __post_init__(self) -> None:
        if PLACE not in self.config.prompt:
            raise ValueError(f"ask.prompt has no {PLACE}: the place of the question")
        try:
            groups = re.compile(self.config.pattern).groups
        except re.error as error:
            raise ValueError(f"ask.pattern {self.config.pattern!r} is no regular expression: {error}") from error
        if groups < 1:
            raise ValueError(f"ask.pattern {self.config.pattern!r} has no group that would find the answer")
        if missing := [c for c in self.categories if c not in self.config.labels]:
            raise ValueError(f"ask.labels has no answer for {', '.join(missing)}")
        if len({a.lower() for a in self.config.labels.values()}) < len(self.config.labels):
            raise ValueError(f"ask.labels: two categories have one answer: {self.config.labels}")

    def prompt(self, question: str) -> str:
        """What the model is asked."""
        text = self.config.prompt.replace(PLACE, question)
        return self.chat([{"role": "user", "content": text}]) if self.chat else text

    def read(self, answer: str) -> str | None:
        """The category of an answer, or None if it names none."""
        found = re.findall(self.config.pattern, answer)
        if not found:
            return None
        last = found[-1] if isinstance(found[-1], str) else found[-1][0]
        by_answer = {a.lower(): category for category, a in self.config.labels.items()}
        return by_answer.get(last.strip().lower())

    def settings(self) -> dict[str, Any]:
        """Generation settings of an answer, as lm-eval has them."""
        return {"until": list(self.config.until), "max_gen_toks": self.config.max_tokens, "do_sample": False}

    def ask(self, lm: LM, questions: Sequence[str]) -> list[str | None]:
        """The category of each question under a model, by its likeliest answer."""
        assert isinstance(lm, ResidentLM)
        instances = [
            Instance("generate_until", {}, (self._fitting(lm, q), self.settings()), i, ("dispatch", i, 1))
            for i, q in enumerate(questions)
        ]
        return [self.read(text) for text in lm.generate_until(instances, disable_tqdm=True)]

    def _fitting(self, lm: ResidentLM, question: str) -> str:
        """The prompt; a question that is too long loses its beginning, so that what is asked of it stays.

        Raises:
            ValueError: if the prompt alone does not fit the context.
        """
        room = lm.max_length - min(self.config.max_tokens, lm.max_length // 2)
        prompt = self.prompt(question)
        tokens = lm.tok_encode(question)
        over = len(lm.tok_encode(prompt)) - room
        while over > 0:
            if over >= len(tokens):
                raise ValueError(f"ask.prompt alone takes more than the {room} tokens that the context leaves for it")
            tokens = tokens[over:]
            prompt = self.prompt(lm.tok_decode(tokens))
            over = len(lm.tok_encode(prompt)) - room
        return prompt


@dataclass(frozen=True)
class AskingRouter:
    """Chooses experts by asking the base, or an expert trained to answer; see `harness.patch.Router`.

    Attributes:
        base: the base.
        asking: what is asked.
        experts: category -> patch.
        asked: the patch under which it is asked: that of the classifier, or the base's own.
    """

    base: Base
    asking: Asking
    experts: dict[str, Patch]
    asked: Patch

    @property
    def identity(self) -> dict[str, Any]:
        """Prompt and patches."""
        return {
            "ask": asdict(self.asking.config),
            "others": self.asking.others,
            "experts": {category: patch.digest for category, patch in self.experts.items()},
            "asked": self.asked.digest,
        }

    @property
    def summary(self) -> str:
        """Categories and who decides."""
        chosen = ", ".join(f"{c} ({p.digest[:12]})" for c, p in self.experts.items())
        judge = "the base" if self.asked.is_empty else f"an expert trained to ({self.asked.digest[:12]})"
        return f"chosen for each document by {judge}: {chosen}, {self.asking.others} (the base)"

    def identity_on(self, stage: Stage) -> dict[str, Any]:
        """Nothing more: a question is judged by itself."""
        return {}

    def route(self, queries: Sequence[Query], stage: Stage) -> Routing:
        """Asks about each document."""
        with self.asked.applied(self.base.model):
            found = self.asking.ask(stage.open(), [q.text for q in queries])
        names = [c if c in self.experts else self.asking.others for c in found]
        patches = {**self.experts, self.asking.others: Patch()}
        return Routing(names, patches, about={"unread": sum(c is None for c in found)})
