"""``python -m harness.report import RUN --results DIR --model M --variant V``: a run of lm-eval's own as a row.

RUN is what ``lm_eval --log_samples --output_path`` wrote: a ``results_*.json`` with the ``samples_*.jsonl`` of the same
time beside it, or their folder. Its documents pair with those of other rows by lm-eval's hashes of document and prompt.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.config.compose import compose_task, known
from harness.config.schema import TaskConfig
from harness.evaluation.asked import Asked, AskedStore
from harness.evaluation.cells import CellName, CellResult, Outcome, identity_digest
from harness.evaluation.store import Store
from harness.report.lm_eval_agrees import check_samples, check_tasks
from harness.tasks.load import leaves_of


def import_run(
    run: Path,
    results: Path,
    model: str,
    variant: str,
    metric: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[CellResult]:
    """Stores the tasks of a run of lm-eval as cells.

    Args:
        run: file of results, or its folder, where the newest counts.
        results: results folder to add to.
        model: the model's name in its tables.
        variant: the row's name.
        metric: ``metric,filter`` that is the score; None takes that of our task of the same name, or the only one.
        say: is told which cells were in their places before.

    Returns:
        The cells.

    Raises:
        ValueError: if the run has no samples or others than its results speak of, a file is damaged, or the metric is
            not told. Nothing is stored then.
    """
    if not variant or "/" in variant:
        raise ValueError(f"variant {variant!r}: the name of a row, without a slash")
    path = _results_file(run)
    content = _read(path)
    stamp = path.stem.rpartition("_")[2]  # also of --output_path FILE.json, which names the file itself
    files = {p.name[len("samples_") : -len(f"_{stamp}.jsonl")]: p for p in path.parent.glob(f"samples_*_{stamp}.jsonl")}
    if not files:
        raise ValueError(f"{path.parent} has no samples_*_{stamp}.jsonl: run lm_eval with --log_samples")
    check_tasks(content, files, path)
    store, words = Store(results), AskedStore(results)
    found: list[tuple[CellResult, list[Outcome], list[Asked]]] = []
    for task, subtasks in _tasks(content, list(files)).items():
        config = compose_task(task, {})[0] if task in known("task") else None
        outcomes: list[Outcome] = []
        asked: list[Asked] = []
        for subtask in subtasks:
            both = [_outcome(row, subtask, config, files[subtask]) for row in _samples(files[subtask])]
            check_samples(content, subtask, [outcome for outcome, _ in both], files[subtask])
            outcomes += [outcome for outcome, _ in both]
            asked += [one for _, one in both]
        name = CellName(model, variant, task)
        found.append((_cell(name, content, path, subtasks, outcomes, config, metric), outcomes, asked))
    for cell, outcomes, asked in found:
        if store.path(cell.name).is_file():
            say(f"{cell.name} was there already: that cell now lies in {results / 'replaced'}")
        words.add(cell.name.task, asked)
        store.put(cell, outcomes)
    return [cell for cell, _, _ in found]


def _results_file(run: Path) -> Path:
    if run.is_file():
        return run
    found = sorted(run.glob("results_*.json")) or sorted(run.glob("*/results_*.json"), key=lambda p: p.name)
    if len({p.parent for p in found}) > 1:
        names = ", ".join(sorted({p.parent.name for p in found}))
        raise ValueError(f"{run} holds runs of several models ({names}): give one of their folders")
    if not found:
        raise ValueError(f"{run}: no results_*.json of lm_eval there (lm_eval --log_samples --output_path DIR)")
    return found[-1]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
            raise ValueError("it has no results")
        return content
    except ValueError as error:
        raise ValueError(f"{path} holds no results of lm-eval: {error}") from error


def _samples(path: Path) -> list[dict[str, Any]]:
    rows = []
    # Not splitlines: an answer may hold any of Unicode's line separators.
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is not a sample: {error}") from error
    return rows


def _tasks(content: Mapping[str, Any], there: list[str]) -> dict[str, list[str]]:
    """Our names of the run's tasks, each with lm-eval's: groups that we know are one task."""
    out: dict[str, list[str]] = {}
    left = list(there)
    for group, members in (content.get("group_subtasks") or {}).items():
        leaves = [m for m in _leaves(group, content["group_subtasks"]) if m in left]
        if members and leaves and (name := _ours(group)) is not None:
            out[name] = leaves
            left = [t for t in left if t not in leaves]
    for name in known("task") if any(_ours(task) is None for task in left) else []:
        config = compose_task(name, {})[0]
        # Tags name several tasks, and a run does not say which one was asked for.
        leaves = [] if config.folder is None else leaves_of(name, config)
        if len(leaves) > 1 and set(leaves) <= set(left):
            out[name] = leaves
            left = [t for t in left if t not in leaves]
    for task in left:
        out[_ours(task) or task] = [task]
    return out


def _leaves(group: str, groups: Mapping[str, Sequence[str]]) -> list[str]:
    members = groups.get(group) or []
    return [leaf for m in members for leaf in _leaves(m, groups)] if members else [group]


def _ours(task: str) -> str | None:
    """Our task that asks lm-eval's of this name; one of the same name first."""
    names = [task, *known("task")] if task in known("task") else known("task")
    return next((n for n in names if compose_task(n, {})[0].lm_eval == task), None)


def _outcome(row: Mapping[str, Any], subtask: str, config: TaskConfig | None, path: Path) -> tuple[Outcome, Asked]:
    try:
        arguments = [list(a.values()) if isinstance(a, dict) else a for a in _listed(row["arguments"])]
        generated = not (len(arguments[0]) > 1 and isinstance(arguments[0][1], str))
        prompt = str(arguments[0][0])
        metrics = {m: float(row[m]) for m in row["metrics"] if isinstance(row[m], (bool, int, float))}
        kind = config.cluster if config else "none"
        cluster = subtask if kind == "subtask" else row["doc"].get(kind)
        outcome = Outcome(
            subtask=subtask,
            doc_id=int(row["doc_id"]),
            doc_hash=str(row["doc_hash"]),
            prompt_hash=str(row["prompt_hash"]),
            filter=str(row["filter"]),
            prediction=_values(row["filtered_resps"], generated),
            response=row["resps"] if generated else None,
            metrics=metrics,
            cluster=None if kind == "none" or cluster is None else str(cluster),
            generated_tokens=0,
        )
        choices = [] if generated else [str(a[1]) for a in arguments]
        key = (subtask, outcome.doc_id, outcome.prompt_hash)
        return outcome, Asked(*key, prompt, str(row["target"]), choices, dict(row["doc"]))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"{path}: document {row.get('doc_id')} is not a sample of lm-eval: {error!r}") from error


def _listed(arguments: Any) -> list[Any]:
    return list(arguments.values()) if isinstance(arguments, dict) else list(arguments)


def _values(filtered: Any, generated: bool) -> Any:
    """Log-likelihoods as numbers again: lm-eval writes every value as text."""
    if generated:
        return filtered
    return [[_value(v) for v in pair] if isinstance(pair, list) else _value(pair) for pair in filtered]


def _value(text: Any) -> Any:
    try:
        return ast.literal_eval(text) if isinstance(text, str) else text
    except (ValueError, SyntaxError):
        return float(text) if text in ("inf", "-inf", "nan") else text


def _cell(
    name: CellName,
    content: Mapping[str, Any],
    path: Path,
    subtasks: Sequence[str],
    outcomes: Sequence[Outcome],
    config: TaskConfig | None,
    metric: str | None,
) -> CellResult:
    keys = sorted({(m, o.filter) for o in outcomes for m in o.metrics})
    has = [f"{m},{f}" for m, f in keys]
    chosen = metric or (config.metric if config else None) or (has[0] if len(has) == 1 else None)
    if chosen is None or chosen not in has:
        told = f"no metric {chosen!r}" if chosen else "the score is not told"
        raise ValueError(f"{name.task}: {told}; say --metric NAME,FILTER: it has {', '.join(has)}")
    metric_name, _, filter_name = chosen.partition(",")
    values = [o.metrics[metric_name] for o in outcomes if o.filter == filter_name and metric_name in o.metrics]
    settings = content.get("config") or {}
    identity = {
        "imported": path.name,
        "model": str(content.get("model_name") or settings.get("model_args") or name.model),
        "patch": f"imported {path.name}",
        "task": name.task,
        "data": content.get("task_hashes", {}).get(subtasks[0], ""),
        "shots": {task: (content.get("n-shot") or {}).get(task) for task in subtasks},
        "task_versions": {task: str((content.get("versions") or {}).get(task)) for task in subtasks},
        "seed": settings.get("fewshot_seed"),
        "dtype": str(settings.get("model_dtype")),
        "limit": settings.get("limit"),
        "max_length": content.get("max_length"),
        "chat_template": content.get("chat_template"),
        "backend": f"lm_eval {settings.get('model')}",
        "sandbox": None,
        "deadline": None,
        "versions": {"lm-eval": content.get("lm_eval_version"), "transformers": content.get("transformers_version")},
    }
    date = content.get("date")
    when = (
        datetime.fromtimestamp(date, UTC).isoformat(timespec="seconds") if isinstance(date, (int, float)) else str(date)
    )
    counts = dict.fromkeys(("prompt_tokens", "generated_tokens", "clipped_prompts", "clipped_budgets", "not_finite"), 0)
    patch: dict[str, Any] = {"method": "imported", "touched": 0, "trained": 0, "total": 1, "config": {}, "donors": {}}
    return CellResult(
        name=name,
        digest=identity_digest(identity),
        identity=identity,
        metric=metric_name,
        filter=filter_name,
        chance=config.chance if config else 0.0,
        score=fmean(values),
        n=len(values),
        scores={f"{m},{f}": fmean(o.metrics[m] for o in outcomes if o.filter == f and m in o.metrics) for m, f in keys},
        groups={},
        counts=counts,
        seconds=float(content.get("total_evaluation_time_seconds") or 0.0),
        finished=when,
        patch={**patch, "seeds": {}, "measured": {}},
        settings={"batch_size": settings.get("batch_size"), "device": str(settings.get("device")), "position": 10_000,
                  "parts": 1, "session": "", "command": f"lm_eval --model {settings.get('model')}"},
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.report import",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="results_*.json of lm_eval, or its folder")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="results folder to add the row to")
    parser.add_argument("--model", required=True, help="the model's name in its tables")
    parser.add_argument("--variant", required=True, help="the row's name")
    parser.add_argument("--metric", metavar="NAME,FILTER", help="the score, where no task of ours says it")
    args = parser.parse_args(arguments)
    try:
        cells = import_run(args.run, args.results, args.model, args.variant, args.metric, print)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for cell in cells:
        print(f"{cell.name}: {cell.metric},{cell.filter} {100 * cell.score:.1f} (n={cell.n})")
    print(f"python -m harness.report {args.results} compares them")
    return 0
