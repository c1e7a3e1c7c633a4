"""One worker's bench: the resident base, the patch that is in, the tasks, and the cells they make."""

from __future__ import annotations

import gc
import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock
from transformers import PreTrainedModel

from harness.config.schema import RuntimeConfig
from harness.config.variants import NoiseVariant
from harness.engine import Plans, chat_of
from harness.evaluation.cells import CellResult, file_name
from harness.evaluation.claims import Claims
from harness.evaluation.gates import GateVerdict, judge
from harness.evaluation.grid import Grid, PlannedCell, model_ref, source_of
from harness.evaluation.identity import Cell
from harness.evaluation.journal import Journal
from harness.evaluation.pairing import estimate
from harness.evaluation.runner import stage_of
from harness.evaluation.session import Session
from harness.evaluation.store import Store
from harness.evaluation.work import Work
from harness.loading import device_of
from harness.models import Base, ModelRef, load_base, load_model
from harness.patch import Patch, export
from harness.sandbox import Limits, Sandbox, open_sandbox
from harness.statistics import Estimate
from harness.tasks.documents import Documents
from harness.tasks.load import LoadedTask, load_task
from harness.variants import Context, NotMadeError, build, plan_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """A cell after the bench is done with it."""

    result: CellResult
    reused: bool
    gates: tuple[GateVerdict, ...]

    @property
    def broken(self) -> list[str]:
        """Why the cell does not pass; empty when it does."""
        return [*self.result.problems, *(g.text for g in self.gates if not g.passed)]


def share_threads(runtime: RuntimeConfig) -> None:
    """Sets torch's threads: as asked, or the cores of this process shared out among the session's workers.

    `OMP_NUM_THREADS` is a bound, as everywhere in torch: who sets it shares the machine with others.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    bound = os.environ.get("OMP_NUM_THREADS", "")
    share = min(cores // workers, int(bound) if bound.isdecimal() else cores)
    torch.set_num_threads(runtime.threads or max(1, share))


class Bench:
    """Holds one base at a time; patches go in and out of it."""

    def __init__(self, grid: Grid, command: str = "", session: Session | None = None) -> None:
        self.grid = grid
        self.command = command
        self.session = session or Session()
        self.store = Store(Path(grid.run.results.dir))
        self.journal = Journal(self.store.folder, self.session.name)
        claims = Claims(self.store.folder, self.journal, self.session.log)
        self._work = Work(self.store, claims, self.journal, grid.run.fresh)
        self._base: Base | None = None
        self._asked: ModelRef | None = None
        self._patch: tuple[str, str, Patch] | None = None
        self._plans = Plans()
        self._plan_texts: dict[tuple[str, str], str] = {}
        self._tasks: dict[tuple[str, str | None], LoadedTask] = {}
        self._sandboxes: dict[bool, Sandbox] = {}

    def evaluate(self, planned: PlannedCell) -> Evaluated:
        """Runs a cell unless it is stored with the same identity, and judges its gate.

        What goes wrong is stored beside the results, for the table, and raised.
        """
        try:
            result = self._result(planned)
            gates: tuple[GateVerdict, ...] = ()
            if planned.gate is not None:
                needed = {v for v in (planned.gate.above, planned.gate.not_below) if v}
                others = {v: self._result(self.grid.sibling(planned, v)) for v in sorted(needed)}
                gates = tuple(judge(planned.gate, result, others, self.store))
        except Exception as error:
            self.fail(planned, f"{type(error).__name__}: {error}")
            raise
        with suppress(OSError):
            self.store.forget_failure(planned.name)
        return Evaluated(result, result.settings.get("session") != self.session.name, gates)

    def score_interval(self, result: CellResult) -> Estimate:
        """The interval of a stored cell's score."""
        return estimate(result, self.store.outcomes(result.name))

    def fail(self, planned: PlannedCell, text: str) -> None:
        """Notes that a cell has no result, and why."""
        with suppress(OSError):  # a full disk is what may have gone wrong
            self.store.put_failure(planned.name, text, self.command)
            self.journal.note(planned.name, "failed", text)

    def help(self) -> list[str]:
        """Does what nobody works on, of any cell, until there is nothing left.

        Returns:
            For each cell that was helped with, how many of its parts were done.
        """
        out = []
        cells = self.session.plan.order if self.session.plan else self.grid.cells
        # What runs under the base that is here comes first.
        for planned in sorted(cells, key=lambda c: c.model != self._asked):
            if self.journal.settled(planned.name):
                continue
            try:
                done = self._work.help(self.cell(planned), self._cuts(planned), self._plans)
            except Exception as error:
                # Its own case will say so; nobody else needs to try.
                logger.warning("%s: %s", planned.name, error)
                self.journal.note(planned.name, "failed", str(error))
                continue
            if done:
                out.append(f"{planned.name}: {sum(part.stop - part.start for part in done)} documents")
        return out

    def _result(self, planned: PlannedCell) -> CellResult:
        cell = self.cell(planned)
        return self._work.finish(cell, self._cuts(planned), self._plans)

    def _cuts(self, planned: PlannedCell) -> int:
        return self.session.plan.parts.get(planned.name, 1) if self.session.plan else 1

    def cell(self, planned: PlannedCell) -> Cell:
        """A cell with its model, patch and data loaded."""
        base = self.base(planned.model)
        sandbox, runtime = self._sandbox_of(planned), self.grid.run.runtime
        noise = planned.variant.config if isinstance(planned.variant.config, NoiseVariant) else None
        if noise is not None:
            runtime = replace(runtime, batch_size=noise.batch_size, batch_tokens=noise.batch_tokens)
        return Cell(
            name=planned.name,
            base=base,
            patch=self.patch(planned),
            task=self.task(planned),
            limit=self.grid.run.limit,
            seed=self.grid.run.seed,
            runtime=runtime,
            engine=self.grid.run.engine,
            sandbox={"name": sandbox.name, **asdict(self._limits())} if sandbox else None,
            command=self.command,
            position=self.grid.cells.index(planned),
            session=self.session.name,
            load=Documents(source_of(self.grid.run), lambda: self._sandbox(False)).task,
            stage=stage_of,
            noise=noise,
        )

    def base(self, ref: ModelRef) -> Base:
        """The resident base, loaded when another one was resident."""
        if self._base is None or self._asked != ref:
            self._base, self._patch, self._plans = None, None, Plans()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # accelerate asks how much is free
            self._base, self._asked = load_base(replace(ref, device=self._device(ref.device))), ref
        return self._base

    def patch(self, planned: PlannedCell) -> Patch:
        """The variant's patch, built when another one was the last."""
        key = (planned.name.model, planned.name.variant)
        if self._patch is None or self._patch[:2] != key:
            self._patch = None
            base = self.base(planned.model)
            patch = build(base, planned.variant, self._context())
            logger.info("plan\n%s", plan_text(base, planned.name.variant, patch))
            self._patch = (*key, patch)
        return self._patch[2]

    def plan(self, planned: PlannedCell) -> str:
        """The dry-run plan of a cell's variant; nothing is trained for it."""
        key = (planned.name.model, planned.name.variant)
        if key not in self._plan_texts:
            base = self.base(planned.model)
            try:
                patch = build(base, planned.variant, replace(self._context(), dry=True))
                self._plan_texts[key] = plan_text(base, planned.name.variant, patch)
            except NotMadeError as missing:
                self._plan_texts[key] = f"{planned.name.variant} on {base.name}: {missing}"
        return self._plan_texts[key]

    def export_once(self, planned: PlannedCell, folder: Path) -> Path:
        """Writes the variant of a cell as a plain Hugging Face folder, unless it lies there already.

        Raises:
            ValueError: if another variant lies there under the same name.
        """
        # Without commas: the folder can be given to --model, which parts names at them.
        target = folder / file_name(planned.name.model) / file_name(planned.name.variant).replace(",", "_")
        base, patch = self.base(planned.model), self.patch(planned)
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{file_name(planned.name.model)}-{target.name}.lock"):
            if (target / "variant.json").is_file():
                there = json.loads((target / "variant.json").read_text())
                if (there["digest"], there["fingerprint"]) != (patch.digest, base.fingerprint):
                    raise ValueError(f"{target} holds another variant of that name; choose another folder to export to")
            else:
                export(base, patch, target)
        return target

    def _context(self) -> Context:
        assert self._base is not None
        base, templated = self._base, self.grid.run.runtime.chat_template
        chat = chat_of(base.model, base.tokenizer, base.processor) if templated else None
        documents = Documents(source_of(self.grid.run), lambda: self._sandbox(False), chat)
        return Context(
            load=self._load_donor,
            data=source_of(self.grid.run),
            patches=Path(self.grid.run.results.patches or self.store.folder / "patches"),
            questions=documents.questions,
            asked=documents.asked,
            chat=chat,
            base=self._load_other,
        )

    def _load_other(self, name: str) -> Base:
        """Another base, beside the resident one."""
        assert self._base is not None
        ref = model_ref(name, self.grid.run)[0]
        dtype = str(self._base.model.dtype).removeprefix("torch.")
        return load_base(replace(ref, dtype=dtype, device=self._device(ref.device)))

    def _load_donor(self, name: str) -> PreTrainedModel:
        ref = model_ref(name, self.grid.run)[0]
        assert self._base is not None
        return load_model(
            replace(ref, dtype=str(self._base.model.dtype).removeprefix("torch."), device="cpu", device_map=None)
        )

    def task(self, planned: PlannedCell) -> LoadedTask:
        """The task of a cell with its data, loaded once."""
        sandbox = self._sandbox_of(planned)
        key = (planned.name.task, sandbox.name if sandbox else None)
        if key not in self._tasks:
            self._tasks[key] = load_task(planned.name.task, planned.task, source_of(self.grid.run), sandbox)
        return self._tasks[key]

    def _sandbox_of(self, planned: PlannedCell) -> Sandbox | None:
        """Where the task's programs run, if it has any."""
        return self._sandbox(planned.trusted) if planned.task.scorer == "code" else None

    def _sandbox(self, trusted: bool) -> Sandbox:
        if trusted not in self._sandboxes:
            self._sandboxes[trusted] = open_sandbox(self.grid.run.sandbox.kind, self._limits(), trusted)
        return self._sandboxes[trusted]

    def _limits(self) -> Limits:
        config = self.grid.run.sandbox
        return Limits(config.seconds, config.memory_mb, config.processes, config.file_mb, config.output_kb)

    @staticmethod
    def _device(device: str) -> str:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"runtime.device={device}: torch sees no such device here; auto or cpu will do")
        return device_of(device)
