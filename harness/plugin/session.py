"""What a session holds: the grid, composed once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.evaluation.grid import Grid, PlannedCell

GRID: pytest.StashKey[Any] = pytest.StashKey()
BENCH: pytest.StashKey[Any] = pytest.StashKey()
LEFT_OUT: pytest.StashKey[list[str]] = pytest.StashKey()
# Names of the properties that travel from a worker to the controller.
LINE = "harness_line"
PLAN = "harness_plan"


def the_grid(config: pytest.Config, overrides: list[str] | None = None) -> Grid:
    """The grid, composed at the first call of a session.

    Raises:
        ValueError: for a run that cannot work.
    """
    if GRID not in config.stash:
        from harness.config.compose import compose_run
        from harness.evaluation.grid import plan_grid

        config.stash[GRID] = plan_grid(compose_run(overrides or []))
        _start_log(config)
    return config.stash[GRID]


def _worker(config: pytest.Config) -> str:
    return getattr(config, "workerinput", {}).get("workerid", "main")


def _start_log(config: pytest.Config) -> None:
    """A log file for each process; xdist would drop what workers print."""
    from harness.evaluation.logs import log_to

    log_to(Path(config.stash[GRID].run.results.dir), _worker(config))
    # Bars of every batch would fill the log; the log says what runs and what it took.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def is_case(item: pytest.Item) -> bool:
    """The item asks for a cell of ours."""
    info = getattr(item, "_fixtureinfo", None)
    return info is not None and is_our_fixture(info.name2fixturedefs.get("cell", ()))


def is_our_fixture(definitions: Sequence[Any]) -> bool:
    """The definition in force is this plugin's, not another project's of the same name."""
    return bool(definitions) and definitions[-1].func.__module__ == "harness.plugin"


def planned_cell(item: pytest.Item) -> PlannedCell | None:
    """The cell of an item, or None."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    value = params.get("cell") if is_case(item) else None
    return value if hasattr(value, "variant") else None
