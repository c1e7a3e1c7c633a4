"""What a session shows: a line for each cell, then the table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.plugin.live import stop_live
from harness.plugin.session import BENCH, CELL, CLAIM, GRID, HELP, LINE, PLAN, SESSION, is_case, the_grid

if TYPE_CHECKING:
    from harness.evaluation.bench import Bench
    from harness.evaluation.grid import Grid
    from harness.report.against import Against

AGAINST: pytest.StashKey[Any] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """What a case printed goes to the log, which xdist would drop for cases that pass."""
    report = yield
    if report.when == "call" and is_case(item):
        for title, text in report.sections:
            logging.getLogger("harness.output").info("%s: %s\n%s", item.nodeid, title, text)
        if report.failed:
            logging.getLogger("harness.output").error("%s failed\n%s", item.nodeid, report.longreprtext)
    if report.when == "call" and is_case(item, CLAIM):
        # What ran for it stands in the log; its verdict needs no more.
        report.sections = []
    return report


_BASELINE = "baseline::"  # cases of cells that regressed


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> Any:
    """Writes the score where pytest would write a dot."""
    if report.outcome == "rerun":
        return "rerun", f"{report.nodeid} WORKER DIED\n", ("WORKER DIED", {"yellow": True})
    if report.nodeid.startswith(_BASELINE):
        return "failed", "", "FAILED"  # the line before it has said so
    told = dict(getattr(report, "user_properties", ()))
    if report.when == "call" and report.passed and HELP in told:
        if not told[HELP]:
            return "", "", ""  # a helper that found nothing to do is nobody's business
        word = f"HELPED {told[HELP]}"
        return "helped", "" if config.get_verbosity() > 0 else f"{word}\n", word
    line = told.get(LINE)
    if report.when != "call" or line is None:
        return None
    word = f"{report.outcome.upper()} {line}"
    if config.get_verbosity() > 0:
        return report.outcome, "", (word, {"green": report.passed, "red": report.failed})
    return report.outcome, f"{report.nodeid} {word}\n", word


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Says what is going to run and where its log is."""
    if GRID not in config.stash:
        return []
    grid = the_grid(config)
    folder = Path(grid.run.results.dir)
    return [f"variant-harness: {len(grid.cells)} cells, results in {folder}, progress in {folder / 'logs'}/"]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Plans, or the table: rendered from the stored cells by the controller."""
    if hasattr(config, "workerinput"):
        return
    # Deselected items stand among the reports.
    reports = [r for rs in terminalreporter.stats.values() for r in rs if isinstance(r, pytest.TestReport)]
    plans = dict.fromkeys(str(value) for r in reports for key, value in r.user_properties if key == PLAN)
    if plans:
        terminalreporter.section("plans (dry run)")
        terminalreporter.write_line("\n\n".join(plans))
        return
    called = [r for r in reports if r.when == "call"]
    ran = [dict(r.user_properties) for r in called if CELL in dict(r.user_properties)]
    lines = [str(properties[LINE]) for properties in ran if LINE in properties]
    if not lines and not any(
        CELL in dict(x.user_properties) or (x.outcome == "failed" and GRID in config.stash) for x in reports
    ):
        return
    reused = sum("stored)" in line for line in lines)
    terminalreporter.section("variants")
    if GRID not in config.stash:
        # Under xdist the controller collects nothing itself; the workers ran cells, so there is a grid.
        from harness.plugin import overrides

        the_grid(config, overrides(config))
    if the_grid(config).cells:
        _write_tables(terminalreporter, the_grid(config), config.stash.get(AGAINST, None))
    terminalreporter.write_line(f"{len(lines) - reused} cells run, {reused} stored already")


def _write_tables(terminalreporter: Any, grid: Grid, against: Against | None) -> None:
    from harness.report import build_table, terminal_text, write_pages
    from harness.report.against import against_text
    from harness.report.loggers import tell
    from harness.report.summary import write_summary

    try:
        table = build_table(Path(grid.run.results.dir), grid.run.baseline, strict=False)
    except ValueError as error:
        terminalreporter.write_line(f"no table: {error}")
        return
    terminalreporter.write_line(terminal_text(table))
    terminalreporter.write_line("written: " + ", ".join(str(p) for p in write_pages(table)))
    if against is not None:
        terminalreporter.section(f"against {against.folder}")
        terminalreporter.write_line(against_text(against))
    if (shown := write_summary(table, against)) is not None:
        terminalreporter.write_line(f"summary: {shown}")
    for line in tell(table, grid.run.log):
        terminalreporter.write_line(line)


@pytest.hookimpl(tryfirst=True)  # before JUnit's file is written
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The controller judges answers by level, and puts the session's journal away."""
    config = session.config
    stop_live(config)
    if hasattr(config, "workerinput") or GRID not in config.stash:
        return
    _after(session)
    from harness.evaluation.journal import Journal

    if SESSION in config.stash:
        Journal(Path(config.stash[GRID].run.results.dir), config.stash[SESSION]).close()


def _after(session: pytest.Session) -> None:
    """What follows the cells: they are all stored now, whoever ran them."""
    config, run = session.config, session.config.stash[GRID].run
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    stats = reporter.stats if reporter is not None else {}
    wanted = run.levels.tasks or run.published or run.claims or run.results.baseline
    unwanted = run.dry_run or config.option.collectonly or not wanted
    ran = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if unwanted or not ran or not (stats.get("passed") or stats.get("failed")):
        return
    from transformers.utils import logging as logging_of_transformers

    from harness.after import after_cells
    from harness.evaluation.bench import Bench, share_threads

    # Bars would break the lines.
    logging_of_transformers.disable_progress_bar()

    def say(text: str) -> None:
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(text)

    share_threads(run.runtime)
    bench = config.stash[BENCH] if BENCH in config.stash else Bench(config.stash[GRID])
    # Who chose some of the cases by name did not ask for the rest.
    if after_cells(bench, say) and not stats.get("deselected"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if run.results.baseline is not None and _regressed(config, bench, say):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if run.claims:
        from harness.claimed import tell_claims

        tell_claims(bench, say)


def _regressed(config: pytest.Config, bench: Bench, say: Callable[[str], None]) -> bool:
    """Compares the session's cells with an earlier run; whether one is worse than allowed."""
    from harness.report.against import compare_runs

    results = bench.grid.run.results
    assert results.baseline is not None, "asked only with a baseline"
    try:
        names = {cell.name for cell in bench.grid.cells}
        config.stash[AGAINST] = compare_runs(Path(results.dir), Path(results.baseline), results.margin, names)
    except ValueError as error:
        say(f"error: baseline: {error}")
        return True
    for change in config.stash[AGAINST].regressions:
        told = f"regressed against {results.baseline}: {change.name}: {100 * change.then:.1f} to {100 * change.now:.1f}"
        say(told)
        # A case of its own: what reads JUnit's file counts failures, and sees no exit status.
        name = f"{_BASELINE}{change.name}"
        place = (str(results.baseline), None, name)
        report = pytest.TestReport(name, place, keywords={}, outcome="failed", longrepr=told, when="call")
        config.hook.pytest_runtest_logreport(report=report)
    return bool(config.stash[AGAINST].regressions)
