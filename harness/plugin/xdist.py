"""Several workers on one grid: what the controller tells them, who helps, and what a crash means."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.plugin.session import GRID, HELP, cell_of_id, session_name, the_bench, typed_command
from harness.workers import visible_devices

TIMINGS: pytest.StashKey[list[list[Any]]] = pytest.StashKey()
CRASHES: pytest.StashKey[Counter[str]] = pytest.StashKey()
_HELPER = "variant-harness::help"


def worker_count(config: pytest.Config) -> int:
    """Workers of the session."""
    return int(getattr(config, "workerinput", {}).get("workercount", 1))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """``-n auto`` for a session of ours: a worker for each device, where there are devices."""
    from harness.plugin import is_asked, overrides

    if not is_asked(config):
        return None
    from harness.config.compose import compose_run

    try:
        # xdist asks before anything is configured.
        runtime = compose_run(overrides(config)).runtime
    except ValueError:
        return None  # said when the session is configured
    devices = [] if runtime.device == "cpu" else visible_devices(os.environ)
    return len(devices) // (runtime.gpus_per_worker or 1) or None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker the command line, the session and what earlier cells took."""
    config = node.config
    node.workerinput["harness_command"] = typed_command(config)
    if GRID in config.stash:
        node.workerinput["harness_session"] = session_name(config)
        if TIMINGS not in config.stash:
            config.stash[TIMINGS] = _timings(config)
        node.workerinput["harness_timings"] = config.stash[TIMINGS]


def _timings(config: pytest.Config) -> list[list[Any]]:
    """Read once, by the controller: workers that read for themselves could plan differently."""
    from harness.evaluation.schedule import timings_of
    from harness.evaluation.store import Store

    found = timings_of(Store(Path(config.stash[GRID].run.results.dir)))
    return [[t.name.model, t.name.variant, t.name.task, t.seconds, t.limit] for t in found]


def timings(config: pytest.Config) -> list[Any]:
    """What earlier cells took, the same in every process of the session."""
    from harness.evaluation.cells import CellName
    from harness.evaluation.schedule import Timing

    rows = config.workerinput.get("harness_timings", []) if hasattr(config, "workerinput") else _timings(config)
    return [Timing(CellName(*row[:3]), *row[3:]) for row in rows]


class Helper(pytest.Item):
    """Runs last, on a worker that has nothing else to do: takes parts of cells that wait for a busy worker."""

    @classmethod
    def numbered(cls, session: pytest.Session, number: int) -> Helper:
        """One of the session's helpers."""
        name = f"help-{number}"
        helper: Helper = cls.from_parent(session, name=name, nodeid=f"{_HELPER}-{number}")
        return helper

    def runtest(self) -> None:
        """Helps until there is nothing left that nobody works on."""
        self.user_properties.append((HELP, "; ".join(the_bench(self.config).help())))

    def reportinfo(self) -> tuple[Path, None, str]:
        """What a failure is headed with."""
        return self.path, None, self.name


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: Any, sched: Any) -> None:
    """A cell whose worker died is tried once more; the second time it is reported, with the log's end."""
    config = report.node.config
    if GRID not in config.stash:
        return
    if crashitem.startswith(_HELPER):
        # What it helped with has a case of its own, which will say what there is to say.
        report.outcome = "rerun"
        return
    planned = cell_of_id(config.stash[GRID], crashitem)
    if planned is None:
        return
    from harness.evaluation.claims import last_lines

    crashes = config.stash.setdefault(CRASHES, Counter())
    crashes[crashitem] += 1
    folder = Path(config.stash[GRID].run.results.dir)
    tail = last_lines(folder / "logs" / f"{report.node.gateway.id}.log")
    if crashes[crashitem] == 1:
        # Not every way of distributing cases can hand one out again.
        with suppress(NotImplementedError):
            sched.mark_test_pending(crashitem)
            report.outcome = "rerun"
            return
    times = "its worker" if crashes[crashitem] == 1 else "two workers"
    report.longrepr = f"{report.longrepr}\nIt killed {times}. The end of the last one's log:\n{tail}"
    from harness.evaluation.store import Store

    Store(folder).put_failure(planned.name, str(report.longrepr), typed_command(config))
