"""The pytest face: every cell of the grid is a case.

A suite module names its task and asks for the ``cell`` fixture::

    @pytest.mark.task("gsm8k")
    def test_gsm8k(cell):
        cell.run()

Nothing here happens in sessions that collect no such function. torch is imported by the first case,
not by the collection.
"""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.evaluation.bench import Bench
    from harness.evaluation.grid import Grid, PlannedCell

_OPTIONS = ("--model", "--variants", "--tasks", "--limit", "--set", "--results", "--fresh", "--dry-run")
_GRID: pytest.StashKey[Any] = pytest.StashKey()
_BENCH: pytest.StashKey[Any] = pytest.StashKey()
_LINE = "harness_line"
_PLAN = "harness_plan"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options; they mean nothing to other tests."""
    group = parser.getgroup("variant-harness", "model variants as cases")
    group.addoption("--model", action="append", default=[], metavar="NAME|PATH|HUB_ID", help="base model(s)")
    group.addoption("--variants", action="append", default=[], metavar="A,B", help="variants, with commas")
    group.addoption("--tasks", action="append", default=[], metavar="X,Y", help="tasks or suites, with commas")
    group.addoption("--limit", type=int, metavar="N", help="documents a task (a subject, for MMLU)")
    group.addoption("--set", action="append", default=[], metavar="KEY=VALUE", help="any Hydra override; repeatable")
    group.addoption("--results", metavar="DIR", help="results folder; cells stored there are not run again")
    group.addoption("--fresh", action="store_true", help="run stored cells again")
    group.addoption("--dry-run", action="store_true", help="print each variant's plan and run nothing")


def overrides(config: pytest.Config) -> list[str]:
    """The command line's options as Hydra overrides."""
    from harness.evaluation.grid import names_of

    out = []
    for key in ("model", "variants", "tasks"):
        names = [name for text in config.getoption(key) for name in names_of(text)]
        if names:
            out.append(f"{key}=[{','.join(_quoted(n) for n in names)}]")
    if config.getoption("limit") is not None:
        out.append(f"limit={config.getoption('limit')}")
    if config.getoption("results"):
        out.append(f"results.dir={_quoted(config.getoption('results'))}")
    out += ["fresh=true"] if config.getoption("fresh") else []
    out += ["dry_run=true"] if config.getoption("dry_run") else []
    return [*out, *config.getoption("set")]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker; composes the grid at once if the command line asks for one."""
    config.addinivalue_line("markers", "task(*names): the tasks that a suite function runs; none means all others")
    asked = any(config.getoption(o.lstrip("-").replace("-", "_")) for o in _OPTIONS)
    if asked or any(Path(a.split("::")[0]).name == "suites" or "suites/" in a for a in config.args):
        try:
            _grid(config)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error


def _grid(config: pytest.Config) -> Grid:
    """The grid, composed once a session."""
    if _GRID not in config.stash:
        from harness.config.compose import compose_run
        from harness.evaluation.grid import plan_grid

        config.stash[_GRID] = plan_grid(compose_run(overrides(config)))
        _start_log(config)
    return config.stash[_GRID]


def _worker(config: pytest.Config) -> str:
    return getattr(config, "workerinput", {}).get("workerid", "main")


def _start_log(config: pytest.Config) -> None:
    """A log file for each process; xdist would drop what workers print."""
    grid = config.stash[_GRID]
    folder = Path(grid.run.results.dir) / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / f"{_worker(config)}.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("harness", "lm_eval"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    # Bars of every batch would fill the log; the log says what runs and what it took.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes a case of every cell of the function's tasks."""
    if "cell" not in metafunc.fixturenames:
        return
    try:
        grid = _grid(metafunc.config)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    marker = metafunc.definition.get_closest_marker("task")
    own = [c for c in grid.cells if marker is None or not marker.args or c.name.task in marker.args]
    several = marker is None or len(marker.args) != 1
    ids = [
        f"{c.name.task}-{c.name.model}-{c.name.variant}" if several else f"{c.name.model}-{c.name.variant}" for c in own
    ]
    metafunc.parametrize("cell", own, ids=ids, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders cells by model, variant and task; drops empty functions and doubles of the generic one."""
    if _GRID not in config.stash:
        return
    grid = _grid(config)
    rank = {c.name: i for i, c in enumerate(grid.cells)}
    planned = {item: _planned(item) for item in items}
    named = {c.name for item, c in planned.items() if c is not None and _marked(item)}
    rest = [i for i in items if not _is_case(i)]
    cases = [i for i in items if (c := planned[i]) is not None and (_marked(i) or c.name not in named)]
    cases.sort(key=lambda i: rank[planned[i].name])  # type: ignore[union-attr]
    items[:] = [*rest, *cases]


def _is_case(item: pytest.Item) -> bool:
    return "cell" in getattr(item, "fixturenames", ())


def _planned(item: pytest.Item) -> PlannedCell | None:
    params = getattr(getattr(item, "callspec", None), "params", {})
    value = params.get("cell") if _is_case(item) else None
    return value if hasattr(value, "variant") else None


def _marked(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("task")
    return marker is not None and bool(marker.args)


class CellCase:
    """What a suite function gets: one cell, ready to be run and judged."""

    def __init__(self, planned: PlannedCell, bench: Bench, request: pytest.FixtureRequest) -> None:
        self.planned, self._bench, self._node = planned, bench, request.node

    def run(self) -> None:
        """Evaluates the cell (or reads it from the store) and fails the test if it does not pass.

        Without a gate a cell passes when every document was scored and no log-likelihood was NaN.
        """
        try:
            if self._bench.grid.run.dry_run:
                self._record(_PLAN, self._bench.plan(self.planned))
                return
            evaluated = self._bench.evaluate(self.planned)
            if (folder := self._bench.grid.run.export) is not None:
                self._bench.export_once(self.planned, Path(folder))
        except ValueError as error:
            pytest.fail(str(error), pytrace=False)
        result = evaluated.result
        spent = "stored" if evaluated.reused else f"{result.seconds:.1f} s"
        self._record(_LINE, f"{result.metric} {100 * result.score:.1f} (n={result.n}, {spent})")
        # For JUnit: plain numbers, since others do not travel from a worker.
        for key in ("score", "n", "seconds"):
            self._record(key, float(getattr(result, key)))
        broken = [*result.problems, *(g.text for g in evaluated.gates if not g.passed)]
        if broken:
            pytest.fail("; ".join(broken), pytrace=False)

    def _record(self, key: str, value: Any) -> None:
        self._node.user_properties.append((key, value))


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> CellCase:
    """One cell of the grid."""
    config = request.config
    if _BENCH not in config.stash:
        from harness.evaluation.bench import Bench, share_threads

        share_threads(_grid(config).run.runtime)
        command = shlex.join(["pytest", *map(str, config.invocation_params.args)])
        asked = getattr(config, "workerinput", {}).get("harness_command", command)
        config.stash[_BENCH] = Bench(_grid(config), asked)
    return CellCase(request.param, config.stash[_BENCH], request)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker the command line that was typed."""
    arguments = map(str, node.config.invocation_params.args)
    node.workerinput["harness_command"] = shlex.join(["pytest", *arguments])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """What a case printed goes to the log, which xdist would drop for cases that pass."""
    report = yield
    if report.when == "call" and _is_case(item):
        for title, text in report.sections:
            logging.getLogger("harness.output").info("%s: %s\n%s", item.nodeid, title, text)
        if report.failed:
            logging.getLogger("harness.output").error("%s failed\n%s", item.nodeid, report.longreprtext)
    return report


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> Any:
    """Writes the score where pytest would write a dot."""
    line = dict(getattr(report, "user_properties", ())).get(_LINE)
    if report.when != "call" or line is None:
        return None
    word = f"{report.outcome.upper()} {line}"
    if config.get_verbosity() > 0:
        return report.outcome, "", (word, {"green": report.passed, "red": report.failed})
    return report.outcome, f"{report.nodeid} {word}\n", word


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Says what is going to run and where its log is."""
    if _GRID not in config.stash:
        return []
    grid = _grid(config)
    folder = Path(grid.run.results.dir)
    return [f"variant-harness: {len(grid.cells)} cells, results in {folder}, progress in {folder / 'logs'}/"]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Plans, or the table: rendered from the stored cells by the controller."""
    if _GRID not in config.stash or hasattr(config, "workerinput"):
        return
    reports = [r for rs in terminalreporter.stats.values() for r in rs if hasattr(r, "user_properties")]
    plans = dict.fromkeys(dict(r.user_properties)[_PLAN] for r in reports if _PLAN in dict(r.user_properties))
    if plans:
        terminalreporter.section("plans (dry run)")
        terminalreporter.write_line("\n\n".join(plans))
        return
    lines = [dict(r.user_properties)[_LINE] for r in reports if r.when == "call" and _LINE in dict(r.user_properties)]
    if not lines:
        return
    reused = sum("stored)" in line for line in lines)
    terminalreporter.section("variants")
    _write_tables(terminalreporter, _grid(config))
    terminalreporter.write_line(f"{len(lines) - reused} cells run, {reused} stored already")


def _write_tables(terminalreporter: Any, grid: Grid) -> None:
    from harness.report import build_table, terminal_text, write_pages

    try:
        table = build_table(Path(grid.run.results.dir), grid.run.baseline)
    except ValueError as error:
        terminalreporter.write_line(f"no table: {error}")
        return
    terminalreporter.write_line(terminal_text(table))
    terminalreporter.write_line("written: " + ", ".join(str(p) for p in write_pages(table)))
