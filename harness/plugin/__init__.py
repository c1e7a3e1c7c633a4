"""The pytest face: every cell of the grid is a case.

A suite module names its task and asks for the ``cell`` fixture::

    @pytest.mark.task("gsm8k")
    def test_gsm8k(cell):
        cell.run()

Nothing here happens in sessions that collect no such function. The collection loads no model.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.offline import settle_offline
from harness.plugin.case import CellCase, ExtraCase
from harness.plugin.claim import ClaimCase
from harness.plugin.live import pytest_sessionstart
from harness.plugin.reporting import (
    pytest_report_header,
    pytest_report_teststatus,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from harness.plugin.session import (
    CASES,
    CLAIM,
    EXTRAS,
    GRID,
    LEFT_OUT,
    case_id,
    is_case,
    is_our_fixture,
    planned_cell,
    the_bench,
    the_claims,
    the_extras,
    the_grid,
)
from harness.plugin.xdist import (
    Helper,
    pytest_configure_node,
    pytest_handlecrashitem,
    pytest_xdist_auto_num_workers,
    worker_count,
)

__all__ = [
    "pytest_configure_node",
    "pytest_handlecrashitem",
    "pytest_report_header",
    "pytest_report_teststatus",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
    "pytest_sessionstart",
    "pytest_terminal_summary",
    "pytest_xdist_auto_num_workers",
]

_OPTIONS = (
    "--model",
    "--variants",
    "--tasks",
    "--claims",
    "--limit",
    "--set",
    "--results",
    "--baseline",
    "--fresh",
    "--dry-run",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options; they mean nothing to other tests."""
    group = parser.getgroup("variant-harness", "model variants as cases")
    group.addoption("--model", action="append", default=[], metavar="NAME|PATH|HUB_ID", help="base model(s)")
    group.addoption("--variants", action="append", default=[], metavar="A,B", help="variants, with commas")
    group.addoption("--tasks", action="append", default=[], metavar="X,Y", help="tasks or suites, with commas")
    group.addoption(
        "--claims", action="append", default=[], metavar="A,B|all", help="statements of papers to put to them"
    )
    group.addoption("--limit", type=int, metavar="N", help="documents a task (a subject, for MMLU)")
    group.addoption("--set", action="append", default=[], metavar="KEY=VALUE", help="any Hydra override; repeatable")
    group.addoption("--results", metavar="DIR", help="results folder; cells stored there are not run again")
    group.addoption("--baseline", metavar="DIR", help="results folder of an earlier run: resolved losses fail this one")
    group.addoption("--margin", type=float, metavar="X", help="loss that --baseline allows: 0.01 is a point")
    group.addoption("--live", action="store_true", help="show what runs where, also where nobody seems to watch")
    group.addoption("--no-live", action="store_true", help="show no live view")
    group.addoption("--fresh", action="store_true", help="run stored cells again")
    group.addoption("--dry-run", action="store_true", help="print each variant's plan and run nothing")


def overrides(config: pytest.Config) -> list[str]:
    """The command line's options as Hydra overrides."""
    # Before anything that imports the hub's libraries, which read the setting once.
    settle_offline()
    from harness.config.compose import names_of

    out = []
    for key in ("model", "variants", "tasks", "claims"):
        names = [name for text in config.getoption(key) for name in names_of(text)]
        if names:
            out.append(f"{key}=[{','.join(_quoted(n) for n in names)}]")
    if config.getoption("limit") is not None:
        out.append(f"limit={config.getoption('limit')}")
    if config.getoption("results"):
        out.append(f"results.dir={_quoted(config.getoption('results'))}")
    if config.getoption("baseline"):
        out.append(f"results.baseline={_quoted(config.getoption('baseline'))}")
    if config.getoption("margin") is not None:
        out.append(f"results.margin={config.getoption('margin')}")
    for option, value in (("live", "true"), ("no_live", "false")):
        out += [f"live={value}"] if config.getoption(option) else []
    out += ["fresh=true"] if config.getoption("fresh") else []
    out += ["dry_run=true"] if config.getoption("dry_run") else []
    return [*out, *config.getoption("set")]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def is_asked(config: pytest.Config) -> bool:
    """The command line names our suites, or has one of our options."""
    options = any(config.getoption(o.lstrip("-").replace("-", "_")) for o in _OPTIONS)
    return options or any(Path(a.split("::")[0]).name == "suites" or "suites/" in a for a in config.args)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker; composes the grid at once if the command line asks for one."""
    config.addinivalue_line("markers", "task(*names): the tasks that a suite function runs; none means all others")
    config.addinivalue_line("markers", "quick: cells of tasks that score choices of few documents")
    if is_asked(config):
        try:
            the_grid(config, overrides(config))
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes a case of every cell of the function's tasks, and of what is measured beside them."""
    ours = [name for name in ("cell", CLAIM, *EXTRAS) if name in metafunc.fixturenames and _is_ours(metafunc, name)]
    if not ours:
        return
    try:
        grid = the_grid(metafunc.config, overrides(metafunc.config))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    for kind in set(ours) & set(EXTRAS):
        found = [extra for extra in the_extras(metafunc.config) if extra.kind == kind]
        metafunc.parametrize(kind, found, ids=[extra.name for extra in found], indirect=True)
    if CLAIM in metafunc.fixturenames and _is_ours(metafunc, CLAIM):
        claims = the_claims(metafunc.config)
        metafunc.parametrize(CLAIM, claims, ids=[f"{c.name}-{c.model}" for c in claims], indirect=True)
    if "cell" not in ours:
        return
    marker = metafunc.definition.get_closest_marker("task")
    own = [c for c in grid.cells if marker is None or not marker.args or c.name.task.partition("(")[0] in marker.args]
    several = marker is None or len(marker.args) != 1
    quick = [pytest.param(c, marks=pytest.mark.quick if c.task.quick else ()) for c in own]
    metafunc.parametrize("cell", quick, ids=[case_id(c, several) for c in own], indirect=True)


def _is_ours(metafunc: pytest.Metafunc, name: str) -> bool:
    """The fixture is this plugin's, not one of the same name in another project."""
    return is_our_fixture(metafunc._arg2fixturedefs.get(name, ()))


@pytest.hookimpl(trylast=True)  # what -k and its like leave is what is shared out
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders cells, drops empty functions and doubles of the generic one, adds helpers for workers that idle."""
    if GRID not in config.stash:
        return
    from harness.evaluation.schedule import schedule
    from harness.plugin.xdist import timings

    grid = the_grid(config, overrides(config))
    planned = {item: planned_cell(item) for item in items}
    named = {c.name for item, c in planned.items() if c is not None and _marked(item)}
    unwanted = [kind for kind in EXTRAS if getattr(grid.run, kind) is None]
    claims = [i for i in items if is_case(i, CLAIM)] if the_claims(config) else []
    unwanted.append(CLAIM)
    rest = [i for i in items if not is_case(i) and not any(is_case(i, kind) for kind in unwanted)]
    cases = [i for i in items if (c := planned[i]) is not None and (_marked(i) or c.name not in named)]
    asked = {planned[i].name for i in cases}  # type: ignore[union-attr]
    cells = [c for c in grid.cells if c.name in asked]
    config.stash[CASES] = plan = schedule(cells, grid.run.limit, worker_count(config), timings(config))
    rank = {c.name: i for i, c in enumerate(plan.order)}
    cases.sort(key=lambda i: rank[planned[i].name])  # type: ignore[union-attr]
    helpers = 2 * worker_count(config) if worker_count(config) > 1 and cases and not grid.run.dry_run else 0
    # Claims come last: they read what the others stored, and run themselves what is not there yet.
    items[:] = [*rest, *cases, *claims, *(Helper.numbered(session, i) for i in range(1, helpers + 1))]
    collected = {cell.task for cell in asked}
    config.stash[LEFT_OUT] = [] if claims else sorted({c.name.task for c in grid.cells} - collected)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Names tasks that no collected function runs and claims that lack a cell: nothing is dropped in silence."""
    left = config.stash.get(LEFT_OUT, [])
    lines = [f"no collected function runs {', '.join(left)} (collect all of suites to run them)"] if left else []
    if GRID in config.stash and the_claims(config):
        from harness.claimed import undecided

        lines += undecided(the_grid(config), the_claims(config))
    return [f"variant-harness: {line}" for line in lines]


def _marked(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("task")
    return marker is not None and bool(marker.args)


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> CellCase:
    """One cell of the grid."""
    return CellCase(request.param, the_bench(request.config), request)


@pytest.fixture
def claim(request: pytest.FixtureRequest) -> ClaimCase:
    """A statement of a paper, put to the stored results."""
    return ClaimCase(request.param, the_bench(request.config), the_extras(request.config), request)


@pytest.fixture
def delta(request: pytest.FixtureRequest) -> ExtraCase:
    """The differences between a model and its donor."""
    return ExtraCase(request.param, the_bench(request.config), request)


@pytest.fixture
def circuits(request: pytest.FixtureRequest) -> ExtraCase:
    """Circuits of a task in a model."""
    return ExtraCase(request.param, the_bench(request.config), request)


@pytest.fixture
def crosscoder(request: pytest.FixtureRequest) -> ExtraCase:
    """A crosscoder over checkpoints or variants."""
    return ExtraCase(request.param, the_bench(request.config), request)
