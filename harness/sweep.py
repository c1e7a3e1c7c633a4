"""A sweep of jobs into one results folder: what became of each, and the table of all at the end.

Jobs may run in this process, in others, or on other machines that share the folder. Each leaves a record
beside Hydra's own; a job that was killed leaves one that says that it started.
"""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import BaseFileLock, FileLock
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from harness.config.compose import compose_run
from harness.config.schema import LogConfig, RunConfig
from harness.config.typed import typed
from harness.run import print_table

if TYPE_CHECKING:
    from harness.report.against import Against

logger = logging.getLogger(__name__)
# Keys that a cell's name shows by itself, or that do not change what it holds.
_NAMED = ("model", "variants", "tasks", "variant.", "task.", "results.", "baseline", "tag", "gates.", "experiment")
# Of the sweep that this process started; its exit code says whether there are any.
SWEEP_PROBLEMS: list[str] = []
_UNFINISHED: list[DictConfig] = []
_LOCKS: dict[int | None, BaseFileLock] = {}
_APART = ("hydra.", "hydra/", "runtime", "export", "claims", "log.", "live")


@dataclass(frozen=True)
class Job:
    """What is known of a job.

    Attributes:
        number: Hydra's number of it.
        overrides: what it was asked.
        state: ``started``, ``done`` or ``failed``; a job without a record never started.
        text: what went wrong.
    """

    number: int
    overrides: tuple[str, ...]
    state: str
    text: str = ""


class Collate(Callback):
    """Keeps the records of a sweep's jobs, and writes the table when the last one has ended."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remembers the sweep, should a launcher give up on it."""
        _UNFINISHED.append(config)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Notes that a job has started, and holds a lock as long as its process lives."""
        number = OmegaConf.select(config, "hydra.job.num")
        if number is not None:
            _folder(config).mkdir(parents=True, exist_ok=True)
            _LOCKS[number] = FileLock(_folder(config) / f"{number}.lock")
            _LOCKS[number].acquire()
            self._record(config, "started")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Notes how it ended."""
        failed = job_return.status != JobStatus.COMPLETED
        problem = repr(job_return._return_value) if failed else str(job_return.return_value or "")
        number = self._record(config, "failed" if problem else "done", problem)
        if number in _LOCKS:
            _LOCKS.pop(number).release()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Writes and prints the table of all jobs."""
        _UNFINISHED.clear()
        SWEEP_PROBLEMS.extend(finish(config))

    def _record(self, config: DictConfig, state: str, text: str = "") -> int | None:
        """Writes a job's record; returns its number, or None for a run of its own."""
        from harness.files import write_text

        number = OmegaConf.select(config, "hydra.job.num")
        if number is None:
            return None
        job = Job(int(number), tuple(config.hydra.overrides.task), state, text)
        write_text(_folder(config) / f"{job.number}.json", json.dumps(asdict(job)))
        return job.number


def finish_abandoned() -> None:
    """Collates a sweep whose launcher raised: a killed job makes some of them give up on all others."""
    for lock in _LOCKS.values():
        lock.release()
    for config in _UNFINISHED:
        SWEEP_PROBLEMS.extend(finish(config))
    _UNFINISHED.clear()


def _folder(config: DictConfig) -> Path:
    return Path(config.hydra.sweep.dir) / "jobs"


def finish(config: DictConfig) -> list[str]:
    """Collates what the jobs of a sweep stored; cells of those that came to no end are noted as failed.

    Args:
        config: the sweep's config, with Hydra's own part.

    Returns:
        A sentence for each job that did not pass.
    """
    wanted = _jobs(config)
    problems = []
    for number, overrides in enumerate(wanted):
        job = _ended(_folder(config), number) or Job(number, tuple(overrides), "never", "it did not start")
        if job.state == "done":
            continue
        text = "it was killed before it ended" if job.state == "started" else job.text
        problems.append(f"job {number} ({shlex.join(job.overrides)}): {text}")
        _note_cells(job, problems[-1], Path(config.hydra.sweep.dir))
    problems += _after(wanted, Path(config.hydra.sweep.dir))
    against, text = _against(wanted, Path(config.hydra.sweep.dir), config)
    problems += [text] if text else []
    counts = f"{len(wanted)} jobs, {len(problems)} did not pass" if problems else f"{len(wanted)} jobs passed"
    log = typed(LogConfig, OmegaConf.to_container(config.log), "log")
    print_table(Path(config.results.dir), config.baseline, counts, against, log)
    for problem in problems:
        print(problem, file=sys.stderr)
    return problems


def _after(jobs: list[list[str]], sweep_folder: Path) -> list[str]:
    """Judges what the jobs stored, now that each one's baseline is there; returns what went wrong."""
    from harness.after import after_cells
    from harness.claimed import tell_claims
    from harness.evaluation.bench import Bench
    from harness.evaluation.grid import plan_grid

    problems = []
    for overrides in jobs:
        try:
            run = _run_of(overrides, sweep_folder)
            if run.levels.tasks or run.published or run.claims:
                bench = Bench(plan_grid(run))
                problems += after_cells(bench, print)
                tell_claims(bench, print)
        except ValueError as error:
            logger.warning("%s: %s", shlex.join(overrides), error)  # its job has said so
    return problems


def _against(jobs: list[list[str]], sweep_folder: Path, config: DictConfig) -> tuple[Against | None, str]:
    """The sweep's cells against an earlier run, where one is named, and what regressed or went wrong."""
    if config.results.baseline is None:
        return None, ""
    from harness.evaluation.grid import plan_grid
    from harness.report.against import compare_runs

    names = set()
    for overrides in jobs:
        with suppress(ValueError):  # its job has said so
            names |= {cell.name for cell in plan_grid(_run_of(overrides, sweep_folder)).cells}
    try:
        results = config.results
        found = compare_runs(Path(results.dir), Path(results.baseline), results.margin, names)
    except ValueError as error:
        return None, f"baseline: {error}"
    return found, f"{len(found.regressions)} cells regressed" if found.regressions else ""


def _run_of(overrides: Sequence[str], sweep_folder: Path) -> RunConfig:
    """The run of a job, with its tag."""
    run = compose_run([o.lstrip("+") for o in overrides])
    run.tag = run.tag or tag_of(overrides, swept_keys(sweep_folder))
    return run


def _jobs(config: DictConfig) -> list[list[str]]:
    """The overrides of each job, in the order of Hydra's own sweeper; no other sweeper says beforehand."""
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return [[] for _ in _folder(config).glob("*.json")]
    parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def _ended(folder: Path, number: int) -> Job | None:
    """A job's record, once its process has ended; None if it never began."""
    file = folder / f"{number}.json"
    if file.is_file():
        with FileLock(folder / f"{number}.lock"):
            pass  # free when the process has ended, however
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Job(**{**content, "overrides": tuple(content["overrides"])})
    except (OSError, ValueError, TypeError):
        return None


def _note_cells(job: Job, text: str, sweep_folder: Path) -> None:
    """Marks the cells that a job should have stored and did not."""
    from harness.evaluation.grid import plan_grid
    from harness.evaluation.store import Store

    try:
        run = _run_of(job.overrides, sweep_folder)
        grid = plan_grid(run)
        store = Store(Path(run.results.dir))
        known = {failure.name for failure in store.failures()}
        for cell in grid.cells:
            if store.get(cell.name) is None and cell.name not in known:
                store.put_failure(cell.name, text, shlex.join(["python", "-m", "harness", *job.overrides]))
    except (ValueError, OSError) as error:
        logger.warning("job %d: %s", job.number, error)


def tag_of(overrides: Sequence[str], swept: Collection[str]) -> str:
    """``seed=2`` for a job of a sweep over seeds: without it the jobs would replace each other's cells.

    Args:
        overrides: of the job.
        swept: the keys that the sweep varies.
    """
    pairs = (text.lstrip("+").partition("=") for text in overrides)
    return ",".join(f"{k}={v}" for k, _, v in sorted(pairs) if k in swept and not k.startswith((*_NAMED, *_APART)))


def swept_keys(sweep_folder: Path) -> set[str]:
    """The keys that a sweep varies, from Hydra's own record of it: jobs may run in other processes."""
    file = sweep_folder / "multirun.yaml"
    if not file.is_file():
        return set()
    typed = OmegaConf.select(OmegaConf.load(file), "hydra.overrides.task") or []
    parsed = OverridesParser.create().parse_overrides(list(typed))
    return {o.key_or_group for o in parsed if o.is_sweep_override()}
