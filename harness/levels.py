"""Judging the stored answers of a run by level, after its cells; what was judged before is not judged again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from filelock import FileLock

from harness.evaluation.bench import Bench
from harness.evaluation.grid import PlannedCell
from harness.evaluation.judged import JudgedTask, JudgedVariant, known_by, load, path_of, save
from harness.judge import TEACHER, Judge, TaskOf
from harness.stethoscope.levels import LEVELS, agreement

ENOUGH = 0.9  # agreement below this is said
FEW = 50  # answers that set thresholds


def judge_run(bench: Bench, say: Callable[[str], None]) -> list[str]:
    """Judges the answers of every chosen task of every model.

    Args:
        bench: of a run whose cells are stored.
        say: is told what goes on, line by line.

    Returns:
        What could not be judged, and why.
    """
    wanted = set(bench.grid.run.levels.tasks)
    groups: dict[tuple[str, str], list[PlannedCell]] = {}
    for cell in bench.grid.cells:
        if cell.name.task.partition("(")[0] in wanted:
            groups.setdefault((cell.name.model, cell.name.task), []).append(cell)
    problems = []
    for (model, task), cells in groups.items():
        siblings = [c[0] for (m, t), c in groups.items() if m == model and t != task]
        try:
            _judge_task(bench, cells, siblings, say)
        except (ValueError, OSError) as error:
            problems.append(f"levels of {model}, {task}: {error}")
    return problems


def _judge_task(
    bench: Bench, cells: Sequence[PlannedCell], siblings: Sequence[PlannedCell], say: Callable[[str], None]
) -> None:
    first = cells[0]
    where = f"levels of {first.name.model}, {first.name.task}"
    results = {c.name.variant: r for c in cells if (r := bench.store.get(c.name)) is not None}
    task = _task_of(bench, first)
    if task is None:
        raise ValueError(f"{TEACHER}, whose answers set the thresholds, has no stored cell; run it too")
    others = [other for c in siblings if _generates(bench, c) and (other := _task_of(bench, c)) is not None]
    settings = {
        **{k: _shown(v) for k, v in asdict(bench.grid.run.levels).items() if k != "tasks"},
        "reader": bench.base(first.model).fingerprint,
        "learned from": {other.planned.name.task: known_by(other.result) for other in (task, *others)},
    }
    path = path_of(bench.store.folder, first.name.model, first.name.task)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{path.name}.lock"):
        before = load(path) if path.is_file() else None
        if before is not None and before.settings != settings:
            before = None
        # Those of other runs into this folder stay as long as their cells do.
        kept = {v: j for v, j in before.variants.items() if _is_stored(bench, first, v, j)} if before else {}
        todo = [variant for variant in results if variant not in kept]
        if not todo:
            return
        judge = Judge(bench, task, others)
        if before is None:
            say(f"{where}: learning from {TEACHER}'s answers")
            before = judge.learn(settings)
            _say_agreement(before, where, say)
        for variant in todo:
            kept[variant] = judge.variant(results[variant], before.thresholds)
            counts = ", ".join(f"{name} {n}" for name, n in zip(LEVELS, kept[variant].tally(), strict=True) if n)
            say(f"{where}: {variant}: {counts or 'no level'}")
        order = dict.fromkeys([*(c.name.variant for c in cells if c.name.variant in kept), *kept])
        save(bench.store.folder, replace(before, variants={v: kept[v] for v in order}))


def _task_of(bench: Bench, planned: PlannedCell) -> TaskOf | None:
    """A task with the base's stored cell: of a job of a sweep it may be another job's."""
    result = bench.store.get(replace(planned.name, variant=TEACHER))
    return TaskOf(planned, result) if result is not None else None


def _generates(bench: Bench, planned: PlannedCell) -> bool:
    return all(t.OUTPUT_TYPE == "generate_until" for t in bench.task(planned).subtasks.values())


def _is_stored(bench: Bench, planned: PlannedCell, variant: str, judged: JudgedVariant) -> bool:
    result = bench.store.get(replace(planned.name, variant=variant))
    return result is not None and known_by(result) == judged.cell


def _shown(value: Any) -> Any:
    """A setting as it may be stored: keys of services are nobody's business."""
    if not isinstance(value, dict):
        return value
    secret = ("key", "token", "secret", "password", "auth", "header")
    return {k: "not stored" if any(word in k.lower() for word in secret) else v for k, v in value.items()}


def _say_agreement(judged: JudgedTask, where: str, say: Callable[[str], None]) -> None:
    found = agreement(judged.examples)
    if found is None:
        return
    say(
        f"{where}: the judge agrees with {found.balanced:.1%} of labelled answers, mean of levels I to III "
        f"({found.right} of {found.n} in all)"
    )
    if found.balanced < ENOUGH:
        say(f"{where}: warning: that is below {ENOUGH:.0%}; read the confusion matrix in levels.md first")
    if judged.thresholds and judged.calibrated < FEW:
        say(f"{where}: warning: only {judged.calibrated} answers set the thresholds")
