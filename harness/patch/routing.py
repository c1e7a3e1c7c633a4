"""Variants that adapt at inference: which patch each document is asked under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lm_eval.api.model import LM

    from harness.patch.patch import Patch


@dataclass(frozen=True)
class Query:
    """A document that is asked.

    Attributes:
        subtask: lm-eval's name of its task.
        doc_id: its number there.
        text: what it asks, without shots.
    """

    subtask: str
    doc_id: int
    text: str

    @property
    def key(self) -> tuple[str, int]:
        """What names it among the documents of a task."""
        return self.subtask, self.doc_id


@dataclass(frozen=True)
class Routing:
    """What pass one decided.

    Attributes:
        names: route of each query.
        patches: route -> the patch that its documents are asked under in pass two.
        seconds: what the search for the patches took when it was made, beside the time of this call; such a search is
            made once for a task, whoever needs it.
        about: what was found, for the result: numbers and texts.
    """

    names: Sequence[str]
    patches: Mapping[str, Patch]
    seconds: float = 0.0
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """One document under a model.

    Attributes:
        score: its metric.
        likelihood: log-likelihood of the right answer in nats, or 0 where the task gives none.
    """

    score: float
    likelihood: float


class Examples(Protocol):
    """Documents of a task that can be asked and graded under any model."""

    @property
    def digest(self) -> str:
        """SHA-256 of what is asked and what is right."""

    def __len__(self) -> int:
        """How many documents."""

    def part(self, start: int, stop: int) -> Examples:
        """Some of them."""

    def scored(self, lm: LM) -> list[Scored]:
        """Each of them under a model."""


class Stage(Protocol):
    """What a router may use to decide."""

    @property
    def task(self) -> str:
        """Name of the task."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """How the engine is run, as far as numbers depend on it."""

    def open(self) -> LM:
        """The engine over the resident model, with whatever is in it now."""

    def examples(self, count: int | None, seed: int, other: str | None, tested: bool) -> Examples:
        """Documents drawn from those that are for training.

        Args:
            count: how many at most; None for all.
            seed: of the draw.
            other: a task whose documents stand in; None for the task's own.
            tested: draw from the documents that are tested instead.

        Raises:
            ValueError: if the task has none.
        """


class Router(Protocol):
    """Decides, in pass one, under which patch each document is asked in pass two."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that its decisions depend on, beside model and task."""

    @property
    def summary(self) -> str:
        """One line for the plan."""

    def identity_on(self, stage: Stage) -> Mapping[str, Any]:
        """What they depend on beside that for one task."""

    def route(self, queries: Sequence[Query], stage: Stage) -> Routing:
        """A patch for each document."""
