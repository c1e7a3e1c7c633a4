"""Evaluating one cell: a patched model on a task, through lm-eval's own ``evaluate``."""

from __future__ import annotations

import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import numpy as np
import torch
from lm_eval.api.registry import get_aggregation
from lm_eval.evaluator import evaluate
from transformers import PreTrainedModel

from harness.config.schema import RuntimeConfig
from harness.engine import Deadline, EngineSettings, Plans, ResidentLM, RoutedLM, open_engine
from harness.evaluation.asked import asked_in
from harness.evaluation.cells import CellResult, Outcome
from harness.evaluation.identity import Cell
from harness.evaluation.outcomes import cluster_of, outcomes_of
from harness.evaluation.parts import Part, Share
from harness.evaluation.stage import CellStage, queries_of
from harness.tasks.load import LoadedTask
from harness.tasks.sourced import SourcedTask

logger = logging.getLogger(__name__)


def documents_of(cell: Cell) -> dict[str, int]:
    """Subtask -> documents that the cell asks."""
    counts = {name: len(task.eval_docs) for name, task in cell.task.subtasks.items()}
    return counts if cell.limit is None else {name: min(n, cell.limit) for name, n in counts.items()}


def run_part(cell: Cell, part: Part, plans: Plans | None = None) -> Share:
    """Evaluates some of a cell's documents; prompts are those of the whole cell.

    Args:
        cell: the cell.
        part: which of its documents, counted through all subtasks.
        plans: encoded requests that earlier variants of the same base left.

    Raises:
        TimeoutError: if ``runtime.cell_deadline`` passes.
    """
    started = time.monotonic()
    _check_metric(cell.task)
    _seed_everything(cell)
    runtime = cell.runtime
    deadline = Deadline(runtime.cell_deadline, f"cell {cell.name}")
    with cell.patch.applied(cell.base.model) as model, _asking(cell, part, deadline) as subtasks:
        opened = _opener(cell, plans, deadline)
        router = cell.patch.router
        lm = opened(model) if router is None else _routed(cell, model, opened, subtasks)
        answer = evaluate(
            lm,
            {"tasks": subtasks},
            limit=cell.limit,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=runtime.chat_template,
            confirm_run_unsafe_code=True,
        )
    assert answer is not None, "evaluate answers None only beside rank 0"
    outcomes, asked = outcomes_of(answer["samples"], cell.task, lm), asked_in(answer["samples"])
    seconds = time.monotonic() - started
    if not isinstance(lm, RoutedLM):
        return Share(part, outcomes, asdict(lm.accounting), seconds, asked=asked)
    found = lm.routing
    first = lm.first_pass
    if found.seconds:  # a search made once: it counts with the first part, as it was measured then
        seconds, first = seconds - first, found.seconds if part.number == 0 else 0.0
        seconds += first
    return Share(part, outcomes, asdict(lm.accounting), seconds, {"seconds": first, **found.about}, asked)


def _opener(cell: Cell, plans: Plans | None, deadline: Deadline) -> Callable[[PreTrainedModel], ResidentLM]:
    """Opens the engine over the resident model, with whatever patch is in."""

    def opened(model: PreTrainedModel) -> ResidentLM:
        runtime = cell.runtime
        lm = open_engine(
            model,
            cell.base.tokenizer,
            cell.engine,
            engine_settings(runtime, cell.sampling_seed),
            runtime.max_length,
            runtime.attn_implementation,
            plans,
            cell.base.processor,
        )
        lm.cell_deadline = deadline
        return lm

    return opened


def _routed(
    cell: Cell,
    model: PreTrainedModel,
    opened: Callable[[PreTrainedModel], ResidentLM],
    asked: Mapping[str, SourcedTask],
) -> RoutedLM:
    """The engine under the variant's router."""
    assert cell.patch.router is not None
    return RoutedLM(model, opened, cell.patch.router, queries_of(asked), CellStage(cell, lambda: opened(model)))


def stage_of(cell: Cell) -> CellStage:
    """A cell as a router sees it while nothing runs."""
    return CellStage(cell, lambda: _opener(cell, None, Deadline())(cell.base.model))


@contextmanager
def _asking(cell: Cell, part: Part, deadline: Deadline) -> Iterator[dict[str, SourcedTask]]:
    """The subtasks that have documents in a part, told which."""
    first, asked = 0, {}
    for name, n in documents_of(cell).items():
        own = range(max(part.start - first, 0), min(part.stop - first, n))
        if own:
            asked[name] = cell.task.subtasks[name]
            asked[name].documents, asked[name].deadline = own, deadline
        first += n
    try:
        yield asked
    finally:
        for task in asked.values():
            task.documents, task.deadline = None, Deadline()


def merge(cell: Cell, shares: Sequence[Share]) -> tuple[CellResult, list[Outcome]]:
    """One result of all parts, with the outcomes in the order of an undivided cell."""
    outcomes = [outcome for share in shares for outcome in share.outcomes]
    filters = list(dict.fromkeys(outcome.filter for outcome in outcomes))
    order = {name: i for i, name in enumerate(cell.task.subtasks)}
    outcomes.sort(key=lambda o: (order[o.subtask], filters.index(o.filter), o.doc_id))
    counts: Counter[str] = Counter()
    for share in shares:
        counts.update(share.counts)
    result = _result(cell, outcomes, dict(counts), sum(share.seconds for share in shares), len(shares))
    result = replace(result, routing=_merged_routing(shares))
    logger.info("%s: %s %.4f, n=%d, %.1f s", cell.name, result.metric, result.score, result.n, result.seconds)
    return result, outcomes


def _merged_routing(shares: Sequence[Share]) -> dict[str, Any]:
    """What pass one found, and its time over all parts."""
    routed = [share.routing for share in shares if share.routing]
    counts = {key: sum(r[key] for r in routed) for key in ("unread",) if any(key in r for r in routed)}
    return {**routed[0], **counts, "seconds": round(sum(r["seconds"] for r in routed), 3)} if routed else {}


def engine_settings(runtime: RuntimeConfig, seed: int) -> EngineSettings:
    """How much the engine takes on, as a run says."""
    return EngineSettings(
        runtime.batch_size, runtime.batch_tokens, runtime.cache_mb, runtime.refill, runtime.deadline, seed
    )


def _check_metric(task: LoadedTask) -> None:
    """Raises before any work if the task has no such metric or cluster, or one that is not a mean."""
    metric, _, filter_name = task.config.metric.partition(",")
    for name, subtask in task.subtasks.items():
        metrics, filters = list(subtask.aggregation()), [f.name for f in subtask._filters]
        if metric not in metrics or (filter_name or "none") not in filters:
            raise ValueError(
                f"task {task.name}: no metric {task.config.metric!r} in {name}; "
                f"metrics: {', '.join(metrics)}; filters: {', '.join(filters)}"
            )
        if subtask.aggregation()[metric] is not get_aggregation("mean"):
            raise ValueError(
                f"task {task.name}: {metric} of {name} is not a mean over documents, so it has no outcomes"
            )
        cluster_of(task.config.cluster, name, subtask.eval_docs[0])


def _seed_everything(cell: Cell) -> None:
    """Shots and sampling start from the cell's seeds, whatever ran before it in this process."""
    cell.task.reseed(cell.seed)
    random.seed(cell.seed)
    np.random.seed(cell.seed)
    torch.manual_seed(cell.sampling_seed)


def _result(cell: Cell, outcomes: list[Outcome], counts: dict[str, int], seconds: float, parts: int) -> CellResult:
    metric, _, filter_name = cell.task.config.metric.partition(",")
    scored = [o for o in outcomes if o.filter == (filter_name or "none") and metric in o.metrics]
    if not scored:
        has = sorted({f"{m},{o.filter}" for o in outcomes for m in o.metrics})
        raise ValueError(f"task {cell.task.name}: no metric {cell.task.config.metric!r}; it has {', '.join(has)}")
    keys = sorted({(m, o.filter) for o in outcomes for m in o.metrics})
    values = {o.document: o.metrics[metric] for o in scored}
    not_finite = sum(not math.isfinite(v) for v in values.values())
    provenance = cell.patch.provenance
    return CellResult(
        name=cell.name,
        digest=cell.digest,
        identity=cell.identity,
        metric=metric,
        filter=filter_name or "none",
        chance=cell.task.config.chance,
        score=fmean(values.values()),
        n=len(values),
        scores={f"{m},{f}": fmean(o.metrics[m] for o in outcomes if o.filter == f and m in o.metrics) for m, f in keys},
        groups={
            group: fmean(v for (subtask, *_), v in values.items() if subtask in members)
            for group, members in cell.task.groups.items()
        },
        counts={**counts, "not_finite": counts["not_finite"] + not_finite},
        seconds=round(seconds, 3),
        finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
        patch={
            "method": provenance.method,
            "touched": provenance.touched,
            "trained": provenance.trained,
            "total": sum(p.numel() for p in cell.base.model.parameters()),
            "config": provenance.config,
            "donors": provenance.donors,
            "seeds": provenance.seeds,
            "measured": provenance.measured,
        },
        settings={
            "batch_size": cell.runtime.batch_size,
            "device": str(cell.base.model.device),
            "position": cell.position,
            "parts": parts,
            "session": cell.session,
            "command": cell.command,
        },
    )
