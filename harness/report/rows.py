"""What a comparison table holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.evaluation.cells import CellResult
from harness.evaluation.pairing import Pairing
from harness.evaluation.store import Failure
from harness.statistics import ADJUSTMENTS, INTERVALS, TESTS, Estimate

Verdict = Literal["baseline", "gain", "regression", "unresolved", "none"]


@dataclass(frozen=True)
class Method:
    """How a table compares.

    Attributes:
        adjust: correction over its comparisons, one of `harness.statistics.ADJUSTMENTS`.
        test: test of right/wrong outcomes, one of `harness.statistics.TESTS`.
        interval: of differences, one of `harness.statistics.INTERVALS`.
    """

    adjust: str = "holm"
    test: str = "auto"
    interval: str = "auto"

    def __post_init__(self) -> None:
        for key, value, there in (
            ("adjust", self.adjust, ADJUSTMENTS),
            ("test", self.test, TESTS),
            ("interval", self.interval, INTERVALS),
        ):
            if value not in there:
                raise ValueError(f"unknown {key} {value!r}; known: {', '.join(there)}")

    @property
    def adjusted_words(self) -> str:
        """What stands before ``p``."""
        return "Holm-adjusted" if self.adjust == "holm" else "Benjamini-Hochberg-adjusted (share of false findings)"

    @property
    def interval_words(self) -> str:
        """What stands behind ``paired 95% interval``."""
        return "" if self.interval == "auto" else " (BCa bootstrap)"


@dataclass(frozen=True)
class Entry:
    """One cell of the table.

    Attributes:
        result: the stored cell.
        score: its score with interval.
        pairing: against the baseline's cell; None for the baseline and where that is missing.
        adjusted_p: adjusted over the whole table, by Holm unless asked otherwise.
        verdict: what the comparison shows.
        routes: documents by the route that pass one chose, for a variant that adapts.
        seeds: scores of each seed alone, where several are held together here; ``result`` is the first one's, with the
            counts and seconds of all.
        cells: the stored cells: of each seed, or one.
        trained: what the training of each seed measured; of one alone where there are no seeds.
    """

    result: CellResult
    score: Estimate
    pairing: Pairing | None = None
    adjusted_p: float | None = None
    verdict: Verdict = "none"
    routes: dict[str, int] = field(default_factory=dict)
    seeds: dict[str, float] = field(default_factory=dict)
    trained: tuple[dict[str, Any], ...] = ()
    cells: tuple[CellResult, ...] = ()

    @property
    def at_chance(self) -> bool:
        """Not told from guessing: the interval reaches down to chance, where chance is above 0."""
        return self.result.chance > 0 and self.score.low <= self.result.chance


@dataclass(frozen=True)
class Row:
    """A variant of a model with its cells by task."""

    model: str
    variant: str
    entries: dict[str, Entry]
    failures: dict[str, Failure] = field(default_factory=dict)

    def absent(self, task: str) -> str:
        """What stands in the place of a score that is not there."""
        return "failed" if task in self.failures else "not run"

    @property
    def touched(self) -> str:
        """Parameters touched, of all, as computed when the patch was built."""
        if not self.entries:
            return ""
        patch = next(iter(self.entries.values())).result.patch
        if patch["method"] == "imported":
            return "not known: a run of lm-eval's"
        if not patch["touched"]:
            # A training whose every look was worse than the start leaves the base.
            return f"0<br>of {patch['trained']:,} trained, none kept" if patch["trained"] else "0"
        text = f"{patch['touched']:,} ({patch['touched'] / patch['total']:.1%})"
        trained = patch["trained"]
        return text if trained in (0, patch["touched"]) else f"{text}<br>{trained:,} trained"

    @property
    def leaky(self) -> bool:
        """Something of it was chosen on test documents."""
        return any(leaky(e) for e in self.entries.values())


@dataclass(frozen=True)
class Table:
    """All variants of all models on all tasks of a results folder."""

    folder: Path
    baseline: str
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    comparisons: int
    method: Method = Method()
    damaged: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Models in order of appearance."""
        return tuple(dict.fromkeys(row.model for row in self.rows))


def leaky(entry: Entry) -> bool:
    """Something of the variant was chosen on test documents."""
    return bool(entry.result.patch["config"].get("leaky"))
