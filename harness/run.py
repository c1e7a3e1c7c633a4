"""One run of a grid in this process: every cell, then the table."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.schema import LogConfig, RunConfig
from harness.workers import lease_for

if TYPE_CHECKING:
    from harness.evaluation.grid import Grid
    from harness.report.against import Against

logger = logging.getLogger(__name__)


def run_grid(run: RunConfig, command: str = "", alone: bool = True) -> int:
    """Runs every cell of a run and returns the number of those that did not pass.

    Args:
        run: the run.
        command: what was typed, to be stored beside each cell.
        alone: no other job of a sweep runs beside it: it may use every device, and writes the table.

    Raises:
        ValueError: for a run that cannot work.
    """
    if not alone or run.runtime.gpus_per_worker is not None:
        # Before torch is imported: whoever asks CUDA for its devices first settles them.
        lease = lease_for(run.runtime.device, run.runtime.gpus_per_worker or 1)
    else:
        lease = None
    from harness.after import after_cells, extras_of
    from harness.claimed import claims_of, tell_claims, undecided
    from harness.evaluation.bench import Bench, share_threads
    from harness.evaluation.grid import plan_grid
    from harness.evaluation.logs import log_to
    from harness.evaluation.schedule import estimate_seconds, schedule, timings_of
    from harness.evaluation.session import Session, new_session
    from harness.evaluation.store import Store
    from harness.live import LiveView, is_wanted

    grid = plan_grid(run)
    extras = extras_of(run)
    share_threads(run.runtime)
    folder = Path(run.results.dir)
    name = new_session()
    log = log_to(folder, "main" if alone else f"job-{name}")
    timings = timings_of(Store(folder))
    plan = schedule(grid.cells, run.limit, 1, timings)
    bench = Bench(grid, command, Session(name, plan, log))
    if alone:
        for line in undecided(grid, claims_of(grid)):
            print(line)
    if run.dry_run:
        plans = [bench.plan(c) for c in grid.cells] + [extra.about for extra in extras]
        print("\n\n".join(dict.fromkeys(plans)))
        return 0
    failed = reused = 0
    estimates = {str(c.name): estimate_seconds(c, run.limit, timings) for c in grid.cells}
    view = LiveView(bench.journal, estimates) if alone and is_wanted(run.live, sys.stdout) else None
    lines = _Lines(whole=view is not None)
    try:
        if view is not None:
            view.start()
        for extra in extras:
            lines.begin(f"{extra.about} ...")
            try:
                lines.end(extra.measure())
            except (ValueError, OSError) as error:
                failed += 1
                lines.end(f"failed: {error}")
        for number, planned in enumerate(grid.cells, 1):
            lines.begin(f"[{number}/{len(grid.cells)}] {planned.name} ...")
            try:
                evaluated = bench.evaluate(planned)
                if run.export is not None:
                    bench.export_once(planned, Path(run.export))
            except Exception as error:
                # The other cells run on, as other cases do under pytest.
                failed += 1
                lines.end(f"failed: {str(error) or type(error).__name__}")
                if not isinstance(error, (ValueError, OSError)):
                    logger.exception("%s", planned.name)
                continue
            result = evaluated.result
            failed += bool(evaluated.broken)
            reused += evaluated.reused
            spent = "stored already" if evaluated.reused else f"{result.seconds:.1f} s"
            told = f"{result.metric} {100 * result.score:.1f} (n={result.n}, {spent})"
            lines.end("; ".join([told, *evaluated.broken]))
        if view is not None:
            view.stop()
        # While the device is still leased: what judges is a model too.
        problems = after_cells(bench, print) if alone and grid.cells else []
        if alone and grid.run.claims:
            tell_claims(bench, print)
    finally:
        if view is not None:
            view.stop()
        bench.journal.close()
        if lease is not None:
            lease.release()
    if alone and grid.cells:
        counts = f"{len(grid.cells) - reused - failed} cells run, {reused} stored already"
        regressed = _regressed(grid)
        print_table(folder, run.baseline, f"{counts}{f', {failed} did not pass' if failed else ''}", regressed, run.log)
        failed += len(regressed.regressions) if regressed else 0
    return failed + len(problems)


class _Lines:
    """Lines that begin before the work and end after it; whole ones where a live view stands below them."""

    def __init__(self, whole: bool) -> None:
        self._whole, self._begun = whole, ""

    def begin(self, text: str) -> None:
        self._begun = text
        if not self._whole:
            print(text, end=" ", flush=True)

    def end(self, text: str) -> None:
        print(f"{self._begun} {text}" if self._whole else text, flush=True)


def _regressed(grid: Grid) -> Against | None:
    """The run against an earlier one, where one is named.

    Raises:
        ValueError: if they share no cell.
    """
    results = grid.run.results
    if results.baseline is None:
        return None
    from harness.report.against import compare_runs

    return compare_runs(Path(results.dir), Path(results.baseline), results.margin, {c.name for c in grid.cells})


def print_table(
    folder: Path, baseline: str, counts: str, against: Against | None = None, log: LogConfig | None = None
) -> None:
    """Writes the pages of a results folder and prints the table.

    Args:
        folder: the results folder.
        baseline: variant that the others are compared with.
        counts: what was run, in a line.
        against: the run against an earlier one.
        log: trackers to tell.
    """
    from harness.report import build_table, terminal_text, write_pages
    from harness.report.against import against_text
    from harness.report.loggers import tell
    from harness.report.summary import write_summary

    try:
        table = build_table(folder, baseline, strict=False)
    except ValueError as error:
        print(f"no table: {error}\n{counts}")
        return
    paths = write_pages(table)
    print(f"\n{terminal_text(table)}\n\n{counts}")
    print("written: " + ", ".join(str(p) for p in paths))
    if against is not None:
        print(f"\n{against_text(against)}")
    if (shown := write_summary(table, against)) is not None:
        print(f"summary: {shown}")
    for line in tell(table, log) if log is not None else []:
        print(line)
