"""``python -m harness.report export DIR --out OUT``: stored cells in lm-eval's own format of results and samples.

For each model and variant ``OUT/<model>__<variant>/results_<time>.json`` and, for each of lm-eval's tasks,
``samples_<task>_<time>.jsonl``, as ``lm_eval --log_samples --output_path`` writes them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from lm_eval.utils import hash_string

from harness.evaluation.asked import Asked, AskedStore, Key
from harness.evaluation.cells import CellResult, Outcome, file_name
from harness.evaluation.store import Store
from harness.files import atomic_write, write_text


def export_cells(folder: Path, out: Path) -> list[Path]:
    """Writes every cell of a results folder.

    Args:
        folder: results folder.
        out: where to.

    Returns:
        The files of results.

    Raises:
        ValueError: if there are no cells, or one cannot be read.
    """
    store, words = Store(folder), AskedStore(folder)
    rows: dict[tuple[str, str], list[CellResult]] = {}
    for result in store:
        rows.setdefault((result.name.model, result.name.variant), []).append(result)
    if not rows:
        raise ValueError(f"{folder} holds no stored cells")
    return [
        _export_row(store, words, cells, out, number)
        for row in rows.values()
        for number, cells in enumerate(_runs_of(row))
    ]


def _runs_of(cells: Sequence[CellResult]) -> list[list[CellResult]]:
    """The cells of a row as runs of lm-eval: two that ask the same task of its (with other shots) are two runs."""
    runs: list[tuple[set[str], list[CellResult]]] = []
    for cell in cells:
        own = set(cell.identity.get("shots") or {cell.name.task})
        for names, members in runs:
            if not names & own:
                names |= own
                members.append(cell)
                break
        else:
            runs.append((own, [cell]))
    return [members for _, members in runs]


def _export_row(store: Store, words: AskedStore, cells: Sequence[CellResult], out: Path, number: int = 0) -> Path:
    """One model and variant: what one run of lm-eval would be; ``number`` tells a second one apart."""
    first = max(cells, key=lambda c: c.finished)
    stamp = first.finished.replace(":", "-").partition("+")[0]
    name = f"{first.name.model}__{first.name.variant}" + (f"__{first.name.task}" if number else "")
    target = out / file_name(name)
    results: dict[str, Any] = {}
    about: dict[str, dict[str, Any]] = {k: {} for k in ("versions", "n-shot", "n-samples", "configs", "group_subtasks")}
    hashes = {}
    for cell in cells:
        asked = words.read(cell.name.task)
        by_task: dict[str, list[Outcome]] = {}
        for outcome in store.outcomes(cell.name):
            by_task.setdefault(outcome.subtask, []).append(outcome)
        for task, outcomes in by_task.items():
            if task in results:
                raise ValueError(f"{cell.name}: {task} stands in another task of this row too; export them one by one")
            results[task] = {"alias": task, **_scores(outcomes)}
            about["versions"][task] = _number(cell.identity.get("task_versions", {}).get(task))
            about["n-shot"][task] = cell.identity.get("shots", {}).get(task)
            n = len({o.doc_id for o in outcomes})
            about["n-samples"][task] = {"original": n, "effective": n}
            about["configs"][task] = {
                "task": task,
                "num_fewshot": about["n-shot"][task],
                "metadata": {"harness": cell.digest},
            }
            about["group_subtasks"][task] = []
            hashes[task] = _write_samples(target / f"samples_{task}_{stamp}.jsonl", outcomes, asked)
        if list(by_task) != [cell.name.task]:
            about["group_subtasks"][cell.name.task] = list(by_task)
    content = {
        "results": results,
        **about,
        "config": {
            "model": "variant-harness",
            "model_args": json.dumps(first.patch["config"], default=str),
            "batch_size": first.settings.get("batch_size"),
            "device": first.settings.get("device"),
            "limit": first.identity.get("limit"),
            "random_seed": first.identity.get("seed"),
            "model_dtype": first.identity.get("dtype"),
        },
        "date": first.finished,
        "lm_eval_version": first.identity.get("versions", {}).get("lm-eval"),
        "transformers_version": first.identity.get("versions", {}).get("transformers"),
        "chat_template": first.identity.get("chat_template"),
        "max_length": first.identity.get("max_length"),
        "task_hashes": hashes,
        "model_source": "variant-harness",
        "model_name": f"{first.name.model}/{first.name.variant}",
        "model_name_sanitized": target.name,
        "total_evaluation_time_seconds": str(sum(c.seconds for c in cells)),
    }
    path = target / f"results_{stamp}.json"
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def _number(version: Any) -> Any:
    try:
        return float(version)
    except (TypeError, ValueError):
        return version


def _scores(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means and standard errors (of the sample, as lm-eval's) by ``metric,filter``."""
    found: dict[str, Any] = {"sample_len": len({o.doc_id for o in outcomes})}
    for name in sorted({(m, o.filter) for o in outcomes for m in o.metrics}):
        values = [o.metrics[name[0]] for o in outcomes if o.filter == name[1] and name[0] in o.metrics]
        found[f"{name[0]},{name[1]}"] = fmean(values)
        found[f"{name[0]}_stderr,{name[1]}"] = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else "N/A"
    return found


def _write_samples(path: Path, outcomes: Sequence[Outcome], asked: Mapping[Key, Asked]) -> str:
    """Writes the samples of one of lm-eval's tasks; returns lm-eval's hash of all of them."""
    digests = []
    with atomic_write(path) as file:
        for outcome in outcomes:
            row = _sample(outcome, asked.get((outcome.subtask, outcome.doc_id, outcome.prompt_hash)))
            digests.append(row["doc_hash"] + row["prompt_hash"] + row["target_hash"])
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return hash_string("".join(digests))


def _sample(outcome: Outcome, words: Asked | None) -> dict[str, Any]:
    prompt, target = (words.prompt, words.target) if words else ("", "")
    pairs: list[Any] = words.choices if words and words.choices else [{}]
    arguments = {f"gen_args_{i}": {"arg_0": prompt, "arg_1": c} for i, c in enumerate(pairs)}
    responses = outcome.response
    if responses is None:  # of choices lm-eval keeps what its filter made of them
        responses = (
            [[pair] for pair in outcome.prediction] if isinstance(outcome.prediction, list) else outcome.prediction
        )
    return {
        "doc_id": outcome.doc_id,
        "doc": words.doc if words else {},
        "target": target,
        "arguments": arguments,
        "resps": _texts(responses),
        "filtered_resps": _texts(outcome.prediction),
        "filter": outcome.filter,
        "metrics": list(outcome.metrics),
        "doc_hash": outcome.doc_hash,
        "prompt_hash": outcome.prompt_hash,
        "target_hash": hash_string(target),
        **outcome.metrics,
    }


def _texts(value: Any) -> Any:
    """As lm-eval writes answers: every value a text."""
    return [_texts(v) for v in value] if isinstance(value, list) else str(value)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.report export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="results folder")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder of lm-eval's files")
    args = parser.parse_args(arguments)
    try:
        paths = export_cells(args.folder, args.out)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(f"written: {p}" for p in paths))
    return 0
