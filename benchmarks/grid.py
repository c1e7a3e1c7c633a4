"""A grid of variants x tasks through the harness, against `lm_eval` run once for each exported variant.

The peer is what people do without a harness: export each variant to a folder and run lm-eval's command
line on it, process start, imports and loading included. The harness's own start is counted likewise;
exporting is counted for neither. Both get the same documents, shots and batch size, and the same
threads; scores are compared cell by cell.

Unfair to the peer: it is asked for one variant a process. Unfair to the harness: it also stores every
document's outcome, tests every difference and writes the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from tabulate import tabulate

from benchmarks.engine import machine
from harness.config.compose import compose_task
from harness.data import DataSource
from harness.evaluation.store import Store
from harness.files import write_text
from harness.tasks import lm_eval_utils
from harness.tasks.load import OWN, load_task

VARIANTS = "base,oproj_merged,qkv_merged,mlp_merged,norm_merged,oproj_zeroed,mlp_zeroed,donor"
TASKS = "lab_gsm8k,lab_arc,lab_mmlu,ioi"
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs both and prints times, their ratio and the cells that differ."""
    asked = _parser().parse_args(arguments)
    variants, tasks = asked.variants.split(","), asked.tasks.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ours = _harness(asked, folder)
        _run(_harness_command(asked, folder, f"export={folder / 'exported'}"))  # all cells are stored already
        leaves = _write_tasks(tasks, asked.data, folder / "tasks")
        (exported,) = [path for path in (folder / "exported").iterdir() if path.is_dir()]
        peer = [_lm_eval(asked, exported / variant, leaves, folder) for variant in variants]
        differing = _differing(Store(folder / "results"), variants, peer)
    seconds = sum(p["seconds"] for p in peer)
    row = {
        "workload": f"grid {len(variants)} x {len(tasks)}",
        "model": asked.model,
        "documents": ours["documents"],
        "wall_ratio": seconds / ours["seconds"],
        "seconds_peer": seconds,
        "seconds_ours": ours["seconds"],
        "differing": len(differing),
        "cells": len(variants) * len(tasks),
    }
    print(tabulate([row], headers="keys", tablefmt="github", floatfmt=".1f"))
    for line in differing:
        print("differs:", line)
    if asked.json:
        arguments = {k: str(v) for k, v in vars(asked).items()}
        write_text(asked.json, json.dumps({"machine": machine(), "arguments": arguments, "rows": [row]}, indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="lab-base", help="name, folder or hub id")
    parser.add_argument("--variants", default=VARIANTS, help="with commas")
    parser.add_argument("--tasks", default=TASKS, help="with commas")
    parser.add_argument("--data", type=Path, help="mirror of the data sets; the lab's tasks need none")
    parser.add_argument("--limit", type=int, help="documents a task (a subject, for MMLU)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def _run(command: list[str], threads: int = 2) -> float:
    """Seconds that a command takes."""
    quiet = {**os.environ, "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    done = subprocess.run(command, env=quiet, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def _harness_command(asked: argparse.Namespace, folder: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "harness", f"model={asked.model}", f"variants=[{asked.variants}]"]
    command += [f"tasks=[{asked.tasks}]", f"results.dir={folder / 'results'}", f"runtime.threads={asked.threads}"]
    command += [f"runtime.batch_size={asked.batch_size}", *more]
    if asked.limit is not None:
        command.append(f"limit={asked.limit}")
    if asked.data is not None:
        command += ["data=mirror", f"data.root={asked.data}"]
    return command


def _harness(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    seconds = _run(_harness_command(asked, folder), asked.threads)
    return {"seconds": seconds, "documents": sum(result.n for result in Store(folder / "results"))}


def _write_tasks(tasks: list[str], data: Path | None, folder: Path) -> dict[str, tuple[str, str]]:
    """The tasks as YAML and files that lm-eval reads by itself.

    Returns:
        Name for lm-eval -> the harness's task and its metric.
    """
    folder.mkdir()
    out = {}
    for name in tasks:
        config = compose_task(name, {})[0]
        loaded = load_task(name, config, DataSource("mirror" if data else "hub", data), None)
        root = OWN if (OWN / str(config.folder)).is_dir() else lm_eval_utils.TASKS
        index = TaskManager(include_defaults=False, include_path=str(root / str(config.folder))).task_index
        for leaf, task in loaded.subtasks.items():
            content = load_yaml(index[leaf].yaml_path, resolve_func=False)
            wanted = {content[key] for key in SPLITS if content.get(key)}
            files = {}
            for split in wanted:
                files[split] = str(folder / f"{leaf}-{split}.jsonl")
                task.dataset[split].to_json(files[split])
            for key in ("tag", "group", "dataset_name", "process_results"):
                content.pop(key, None)
            metric = config.metric.partition(",")[0]
            content |= {
                "task": f"peer_{leaf}",
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": files},
                "num_fewshot": task.config.num_fewshot,
                "metric_list": [m for m in content["metric_list"] if m["metric"] == metric],
            }
            (folder / f"{leaf}.yaml").write_text(yaml.safe_dump(content))
            out[f"peer_{leaf}"] = name, config.metric
    return out


def _lm_eval(
    asked: argparse.Namespace, model: Path, leaves: dict[str, tuple[str, str]], folder: Path
) -> dict[str, Any]:
    """One variant by lm-eval's command line: seconds, and the score of each task."""
    out = folder / f"lm_eval-{model.name}"
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--device", "cpu"]
    command += ["--model_args", f"pretrained={model},dtype=float32", "--tasks", ",".join(leaves)]
    command += ["--include_path", str(folder / "tasks"), "--batch_size", str(asked.batch_size)]
    command += ["--output_path", str(out)]
    if asked.limit is not None:
        command += ["--limit", str(asked.limit)]
    seconds = _run(command, asked.threads)
    (file,) = out.rglob("results_*.json")
    results = json.loads(file.read_text())
    scores: dict[str, list[tuple[float, int]]] = {}
    for leaf, (task, metric) in leaves.items():
        n = results["n-samples"][leaf]["effective"]
        scores.setdefault(task, []).append((results["results"][leaf][metric], n))
    means = {task: sum(v * n for v, n in parts) / sum(n for _, n in parts) for task, parts in scores.items()}
    return {"variant": model.name, "seconds": seconds, "scores": means}


def _differing(store: Store, variants: list[str], peer: list[dict[str, Any]]) -> list[str]:
    """Cells whose score is not the peer's."""
    ours = {(r.name.variant, r.name.task): r.score for r in store}
    out = []
    for variant, theirs in zip(variants, peer, strict=True):
        for task, score in theirs["scores"].items():
            if abs(ours[variant, task] - score) > 1e-9:
                out.append(f"{variant}/{task}: ours {ours[variant, task]:.6f}, lm-eval {score:.6f}")
    return out


if __name__ == "__main__":
    main()
