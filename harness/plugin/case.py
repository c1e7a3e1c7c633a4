"""What a suite function gets: one cell, or something that is measured beside them, ready to be run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.plugin.session import CELL, LINE, PLAN

if TYPE_CHECKING:
    from harness.after import Extra
    from harness.evaluation.bench import Bench
    from harness.evaluation.grid import PlannedCell


class CellCase:
    """What a suite function gets: one cell, ready to be run and judged."""

    def __init__(self, planned: PlannedCell, bench: Bench, request: pytest.FixtureRequest) -> None:
        self.planned, self._bench, self._node = planned, bench, request.node

    def run(self) -> None:
        """Evaluates the cell (or reads it from the store) and fails the test if it does not pass.

        Without a gate a cell passes when every document was scored and no log-likelihood was NaN.
        """
        self._record(CELL, str(self.planned.name))
        problem = evaluated = None
        try:
            if self._bench.grid.run.dry_run:
                self._record(PLAN, self._bench.plan(self.planned))
                return
            evaluated = self._bench.evaluate(self.planned)
            if (folder := self._bench.grid.run.export) is not None:
                self._bench.export_once(self.planned, Path(folder))
        except (ValueError, OSError) as error:
            problem = str(error)
        if problem is not None or evaluated is None:
            # Outside the except block, which would print the chain of what led to it.
            pytest.fail(str(problem), pytrace=False)
        result = evaluated.result
        spent = "stored" if evaluated.reused else f"{result.seconds:.1f} s"
        line = f"{result.metric} {100 * result.score:.1f} (n={result.n}, {spent})"
        self._record(LINE, "; ".join([line, *evaluated.broken]))
        # For JUnit: plain numbers, since others do not travel from a worker.
        for key in ("score", "n", "chance", "seconds"):
            self._record(key, float(getattr(result, key)))
        for key in ("model", "variant", "task"):
            self._record(key, str(getattr(result.name, key)))
        self._record("metric", f"{result.metric},{result.filter}")
        interval = self._bench.score_interval(result)
        self._record("score_low", interval.low)
        self._record("score_high", interval.high)
        if evaluated.broken:
            pytest.fail("; ".join(evaluated.broken), pytrace=False)

    def _record(self, key: str, value: Any) -> None:
        self._node.user_properties.append((key, value))


class ExtraCase:
    """What a run measures beside its cells: a model's differences or circuits, or a crosscoder."""

    def __init__(self, extra: Extra, bench: Bench, request: pytest.FixtureRequest) -> None:
        self._extra, self._bench, self._node = extra, bench, request.node

    def run(self) -> None:
        """Measures and writes the pages; fails with the reason if that cannot be."""
        if self._bench.grid.run.dry_run:
            self._node.user_properties.append((PLAN, self._extra.about))
            return
        from harness.claimed import measure_once

        problem = ""
        try:
            # A claim that needs it may have been there first.
            line = measure_once(self._bench, self._extra)
            self._node.user_properties.append((LINE, line or "measured already"))
        except (ValueError, OSError) as error:
            problem = str(error)
        if problem:
            # Outside the except block, which would print the chain of what led to it.
            pytest.fail(problem, pytrace=False)
