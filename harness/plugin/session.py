"""What a session holds: the grid, composed once."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.workers import lease_for

if TYPE_CHECKING:
    from harness.after import Extra
    from harness.config.claims import Claim
    from harness.evaluation.bench import Bench
    from harness.evaluation.grid import Grid, PlannedCell

GRID: pytest.StashKey[Any] = pytest.StashKey()
BENCH: pytest.StashKey[Any] = pytest.StashKey()
CLAIMS: pytest.StashKey[list[Any]] = pytest.StashKey()
SESSION: pytest.StashKey[str] = pytest.StashKey()
CASES: pytest.StashKey[Any] = pytest.StashKey()
LEASE: pytest.StashKey[Any] = pytest.StashKey()
LOG: pytest.StashKey[Path] = pytest.StashKey()
BESIDE: pytest.StashKey[list[Any]] = pytest.StashKey()
LEFT_OUT: pytest.StashKey[list[str]] = pytest.StashKey()
# Names of the properties that travel from a worker to the controller.
LINE = "harness_line"
PLAN = "harness_plan"
HELP = "harness_help"
CELL = "harness_cell"
CLAIM = "claim"  # the fixture of a claim
VERDICT = "harness_verdict"
EXTRAS = ("delta", "circuits", "crosscoder")  # fixtures, and keys of a run, of what is measured beside its cells


def the_grid(config: pytest.Config, overrides: list[str] | None = None) -> Grid:
    """The grid, composed at the first call of a session.

    Raises:
        ValueError: for a run that cannot work.
    """
    if GRID not in config.stash:
        from harness.config.compose import compose_run

        run = compose_run(overrides or [])
        if hasattr(config, "workerinput"):
            # Before torch is imported: whoever asks CUDA for its devices first settles them.
            config.stash[LEASE] = lease_for(run.runtime.device, run.runtime.gpus_per_worker or 1)
        from harness.evaluation.grid import plan_grid

        grid = plan_grid(run)
        if any(getattr(run, kind) is not None for kind in EXTRAS):
            from harness.after import extras_of

            config.stash[BESIDE] = extras_of(run)  # what is wrong with them is said before anything runs
        config.stash[GRID] = grid
        _start_log(config)
    return config.stash[GRID]


def the_extras(config: pytest.Config) -> list[Extra]:
    """What the session measures beside its cells; known once the grid is."""
    return config.stash.get(BESIDE, [])


def the_claims(config: pytest.Config) -> list[Claim]:
    """The claims that the session's results are put to."""
    from harness.config.claims import compose_claims

    grid = the_grid(config)
    if CLAIMS not in config.stash:
        from harness.evaluation.grid import models_of

        config.stash[CLAIMS] = compose_claims(grid.run.claims, models_of(grid.run))
    return config.stash[CLAIMS]


def the_bench(config: pytest.Config) -> Bench:
    """This process's bench, made at the first call."""
    if BENCH not in config.stash:
        from harness.evaluation.bench import Bench, share_threads
        from harness.evaluation.session import Session

        grid, given = the_grid(config), getattr(config, "workerinput", {})
        share_threads(grid.run.runtime)
        command = given.get("harness_command") or typed_command(config)
        session = Session(given.get("harness_session") or session_name(config), config.stash[CASES], config.stash[LOG])
        config.stash[BENCH] = Bench(grid, command, session)
    return config.stash[BENCH]


def session_name(config: pytest.Config) -> str:
    """The name that all processes of the session know it by."""
    from harness.evaluation.session import new_session

    return config.stash.setdefault(SESSION, new_session())


def typed_command(config: pytest.Config) -> str:
    """The command line as it was typed."""
    return shlex.join(["pytest", *map(str, config.invocation_params.args)])


def _worker(config: pytest.Config) -> str:
    return getattr(config, "workerinput", {}).get("workerid", "main")


def _start_log(config: pytest.Config) -> None:
    """A log file for each process; xdist would drop what workers print."""
    from harness.evaluation.logs import log_to

    config.stash[LOG] = log_to(Path(config.stash[GRID].run.results.dir), _worker(config))
    if leased := config.stash.get(LEASE, None):
        logging.getLogger("harness").info("leased device %s", ", ".join(leased.devices))
    # Bars of every batch would fill the log; the log says what runs and what it took.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def is_case(item: pytest.Item, fixture: str = "cell") -> bool:
    """The item asks for a cell (or another fixture) of ours."""
    info = getattr(item, "_fixtureinfo", None)
    return info is not None and is_our_fixture(info.name2fixturedefs.get(fixture, ()))


def is_our_fixture(definitions: Sequence[Any]) -> bool:
    """The definition in force is this plugin's, not another project's of the same name."""
    return bool(definitions) and definitions[-1].func.__module__ == "harness.plugin"


def case_id(cell: PlannedCell, several: bool) -> str:
    """What pytest shows in brackets: with the task where a function runs several."""
    own = f"{cell.name.model}-{cell.name.variant}"
    return f"{cell.name.task}-{own}" if several else own


def cell_of_id(grid: Grid, nodeid: str) -> PlannedCell | None:
    """The cell of a case by its node id, for a controller that has collected nothing."""
    function, _, shown = nodeid.rsplit("::", 1)[-1].partition("[")
    for cell in grid.cells:
        if shown == f"{case_id(cell, True)}]":
            return cell
        if shown == f"{case_id(cell, False)}]" and function == f"test_{cell.name.task.partition('(')[0]}":
            return cell
    return None


def planned_cell(item: pytest.Item) -> PlannedCell | None:
    """The cell of an item, or None."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    value = params.get("cell") if is_case(item) else None
    return value if hasattr(value, "variant") else None
