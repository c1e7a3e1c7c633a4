"""All that a report shows, read and computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.claims import ClaimVerdict
from harness.evaluation.asked import Asked, AskedStore, Key
from harness.evaluation.cells import CellResult, Outcome
from harness.evaluation.store import Store
from harness.report.claims import verdicts_of
from harness.report.levels import LevelTable, level_table
from harness.report.rows import Entry, Row, Table


@dataclass(frozen=True)
class Source:
    """A results folder as its report shows it.

    Attributes:
        table: the comparison table.
        store: its cells, with the outcomes that the table was made of.
        claims: claims that were asked for on the command line; None for those of the folder's runs.
    """

    table: Table
    store: Store
    claims: Any = None

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.table.folder

    @cached_property
    def judged(self) -> tuple[list[ClaimVerdict], list[str]]:
        """Verdicts on claims, and what went wrong with them."""
        return verdicts_of(self.folder, self.table.models, self.claims, self.store)

    @cached_property
    def levels(self) -> LevelTable:
        """Levels of answers."""
        return level_table(self.table)

    @property
    def several(self) -> bool:
        """There are several models: names of variants alone do not tell rows apart."""
        return len(self.table.models) > 1

    def name(self, row: Row) -> str:
        """What a row is called."""
        return f"{row.model} / {row.variant}" if self.several else row.variant

    def rows(self, task: str) -> list[tuple[Row, Entry]]:
        """The rows that have a task."""
        return [(row, row.entries[task]) for row in self.table.rows if task in row.entries]

    def cells(self, task: str) -> list[tuple[CellResult, list[Outcome]]]:
        """The stored cells of a task, seeds apart, in the order of the table; with outcomes under their own filter."""
        out = []
        for row, entry in self.rows(task):
            for result in entry.cells:
                outcomes = self.store.outcomes(result.name)
                own = [o for o in outcomes if o.filter == result.filter and result.metric in o.metrics]
                assert row.model == result.name.model, "a row is of one model"
                out.append((result, own))
        return out

    def asked(self, task: str) -> tuple[dict[Key, Asked], str]:
        """The documents of a task in words, and why there are none."""
        try:
            found = AskedStore(self.folder).read(task)
        except (ValueError, OSError) as error:
            return {}, str(error)
        return found, "" if found else "These cells were stored by a version that did not keep prompts, or elsewhere."
