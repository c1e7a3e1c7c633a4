"""The pytest face: every cell of the grid is a case.

A suite module names its task and asks for the ``cell`` fixture::

    @pytest.mark.task("gsm8k")
    def test_gsm8k(cell):
        cell.run()

Nothing here happens in sessions that collect no such function. The collection loads no model.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.config.offline import settle_offline
from harness.plugin.case import CellCase
from harness.plugin.reporting import (
    pytest_report_header,
    pytest_report_teststatus,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)
from harness.plugin.session import BENCH, GRID, LEFT_OUT, is_case, is_our_fixture, planned_cell, the_grid

__all__ = [
    "pytest_report_header",
    "pytest_report_teststatus",
    "pytest_runtest_makereport",
    "pytest_terminal_summary",
]

_OPTIONS = ("--model", "--variants", "--tasks", "--limit", "--set", "--results", "--fresh", "--dry-run")


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
    # Before anything that imports the hub's libraries, which read the setting once.
    settle_offline()
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
            the_grid(config, overrides(config))
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes a case of every cell of the function's tasks."""
    if "cell" not in metafunc.fixturenames or not _is_ours(metafunc):
        return
    try:
        grid = the_grid(metafunc.config, overrides(metafunc.config))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    marker = metafunc.definition.get_closest_marker("task")
    own = [c for c in grid.cells if marker is None or not marker.args or c.name.task.partition("(")[0] in marker.args]
    several = marker is None or len(marker.args) != 1
    ids = [
        f"{c.name.task}-{c.name.model}-{c.name.variant}" if several else f"{c.name.model}-{c.name.variant}" for c in own
    ]
    metafunc.parametrize("cell", own, ids=ids, indirect=True)


def _is_ours(metafunc: pytest.Metafunc) -> bool:
    """``cell`` is this plugin's fixture, not one of the same name in another project."""
    definitions = metafunc._arg2fixturedefs.get("cell", ())
    return is_our_fixture(definitions)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders cells by model, variant and task; drops empty functions and doubles of the generic one."""
    if GRID not in config.stash:
        return
    grid = the_grid(config, overrides(config))
    rank = {c.name: i for i, c in enumerate(grid.cells)}
    planned = {item: planned_cell(item) for item in items}
    named = {c.name for item, c in planned.items() if c is not None and _marked(item)}
    rest = [i for i in items if not is_case(i)]
    cases = [i for i in items if (c := planned[i]) is not None and (_marked(i) or c.name not in named)]
    cases.sort(key=lambda i: rank[planned[i].name])  # type: ignore[union-attr]
    items[:] = [*rest, *cases]
    config.stash[LEFT_OUT] = sorted({c.name.task for c in grid.cells} - {planned[i].name.task for i in cases})  # type: ignore[union-attr]


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Names chosen tasks that no collected function runs, so that nothing is dropped in silence."""
    left = config.stash.get(LEFT_OUT, [])
    if not left:
        return []
    return [f"variant-harness: no collected function runs {', '.join(left)} (collect all of suites to run them)"]


def _marked(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("task")
    return marker is not None and bool(marker.args)


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> CellCase:
    """One cell of the grid."""
    config = request.config
    if BENCH not in config.stash:
        from harness.evaluation.bench import Bench, share_threads

        share_threads(the_grid(config, overrides(config)).run.runtime)
        command = shlex.join(["pytest", *map(str, config.invocation_params.args)])
        asked = getattr(config, "workerinput", {}).get("harness_command", command)
        config.stash[BENCH] = Bench(the_grid(config, overrides(config)), asked)
    return CellCase(request.param, config.stash[BENCH], request)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker the command line that was typed."""
    arguments = map(str, node.config.invocation_params.args)
    node.workerinput["harness_command"] = shlex.join(["pytest", *arguments])
