"""What a router may use of a cell: its engine, and documents to look at before it decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.engine import ResidentLM
from harness.evaluation.identity import Cell
from harness.patch import Examples, Query
from harness.tasks.examples import leaky_examples, training_examples
from harness.tasks.sourced import SourcedTask


@dataclass(frozen=True)
class CellStage:
    """A cell as a router sees it; see `harness.patch.Stage`.

    Attributes:
        cell: the cell.
        opened: opens the engine over the resident model.
    """

    cell: Cell
    opened: Callable[[], ResidentLM]

    @property
    def task(self) -> str:
        """Name of the task, without the settings of this run."""
        return self.cell.name.task.partition("(")[0]

    @property
    def settings(self) -> dict[str, Any]:
        """How the engine is run."""
        runtime = self.cell.runtime
        keys = ("max_length", "attn_implementation", "chat_template", "deadline")
        return {"engine": self.cell.engine, "seed": self.cell.seed, **{key: getattr(runtime, key) for key in keys}}

    def open(self) -> ResidentLM:
        """The engine over the resident model, with whatever is in it now."""
        return self.opened()

    def examples(self, count: int | None, seed: int, other: str | None, tested: bool) -> Examples:
        """Documents for training, of the cell's task or another's, or the cell's tested ones.

        Raises:
            ValueError: if there are none.
        """
        if other is None:
            loaded = self.cell.task
        elif self.cell.load is None:
            raise ValueError(f"task {other} cannot be loaded here")
        else:
            loaded = self.cell.load(other)
        chat = self.opened().apply_chat_template if self.cell.runtime.chat_template else None
        drawn = leaky_examples if tested else training_examples
        # Shots come from a draw that goes on: begun anew, they are the same whatever was asked before.
        loaded.reseed(self.cell.seed)
        try:
            return drawn(loaded, count, seed, chat)
        finally:
            loaded.reseed(self.cell.seed)


def queries_of(asked: Mapping[str, SourcedTask]) -> list[Query]:
    """The documents that a part of a cell asks."""
    out = []
    for name, task in asked.items():
        docs = task.eval_docs
        numbers = range(len(docs)) if task.documents is None else task.documents
        out += [Query(name, i, str(task.doc_to_text(docs[i]))) for i in numbers]
    return out
