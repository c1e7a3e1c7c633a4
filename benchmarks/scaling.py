"""Two workers against one on the lab's grid, and a schedule for eight from the times that were measured.

Each session runs in a folder of its own, with one torch thread a worker. Its start (imports, collection,
loading the model) is in the first ratio and not in the second: work counts from the first part that a
worker's log says it took to the last cell that one stored.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.engine import machine
from harness.config.compose import compose_run
from harness.config.paths import SUITES
from harness.evaluation.grid import plan_grid
from harness.evaluation.schedule import makespan, schedule, timings_of
from harness.evaluation.store import Store
from harness.files import write_text

VARIANTS = "base,oproj_merged,qkv_merged,mlp_merged,oproj_zeroed,donor"
GPUS = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs both sessions, simulates the third, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="lab-base", help="name, folder or hub id")
    parser.add_argument("--variants", default=VARIANTS, help="with commas")
    parser.add_argument("--tasks", default="lab", help="tasks or suites, with commas")
    parser.add_argument("--limit", type=int, help="documents a task")
    parser.add_argument("--json", type=Path, help="file for the figures")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        runs = [_session(asked, n, Path(temporary) / str(n)) for n in (1, 2)]
        simulated = _simulated(asked, Path(temporary) / "1")
    one, two = runs
    row = {
        "workload": f"{asked.variants.count(',') + 1} variants x {asked.tasks}",
        "cells": one["cells"],
        "seconds, one worker": one["seconds"],
        "two": two["seconds"],
        "ratio": one["seconds"] / two["seconds"],
        "work, one worker": one["work"],
        "work, two": two["work"],
        "ratio of work": one["work"] / two["work"],
        "differing": sum(one["outcomes"][k] != two["outcomes"].get(k) for k in one["outcomes"]),
    }
    print(tabulate([row], headers="keys", tablefmt="github", floatfmt=".2f"))
    print(tabulate([simulated], headers="keys", tablefmt="github", floatfmt=".2f"))
    if asked.json:
        figures = {"machine": machine(), "rows": [row], "simulated": simulated}
        write_text(asked.json, json.dumps(figures, indent=1))


def _session(asked: argparse.Namespace, workers: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(SUITES), "-n", str(workers), "-q"]
    command += ["--model", asked.model, "--variants", asked.variants, "--tasks", asked.tasks]
    command += ["--results", str(folder), "--set", "runtime.threads=1"]
    if asked.limit is not None:
        command += ["--limit", str(asked.limit)]
    started = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    store = Store(folder)
    outcomes = {str(r.name): [(o.document, o.response) for o in store.outcomes(r.name)] for r in store}
    return {"seconds": seconds, "work": _work(folder), "cells": len(outcomes), "outcomes": outcomes}


def _work(folder: Path) -> float:
    """Seconds from the first part that was taken to the last cell that was stored, from the logs."""
    stamp = r"^(\S+ \S+) INFO harness\S*: "
    text = "\n".join(p.read_text() for p in (folder / "logs").glob("gw*.log"))
    starts = re.findall(stamp + r"\S+: documents", text, flags=re.MULTILINE)
    ends = re.findall(stamp + r"\S+: \S+ [\d.]+, n=", text, flags=re.MULTILINE)
    first, last = (datetime.strptime(f(s), "%Y-%m-%d %H:%M:%S,%f") for f, s in ((min, starts), (max, ends)))
    return (last - first).total_seconds()


def _simulated(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What eight workers would take for the same cells, by list scheduling of their parts."""
    overrides = [f"model={asked.model}", f"variants=[{asked.variants}]", f"tasks=[{asked.tasks}]"]
    cells = plan_grid(compose_run([*overrides, "runtime.device=cpu"])).cells
    timings = timings_of(Store(folder))
    seconds = {t.name: t.seconds for t in timings}
    plan = schedule(cells, asked.limit, GPUS, timings)
    pieces = [seconds[c.name] / plan.parts[c.name] for c in plan.order for _ in range(plan.parts[c.name])]
    bound = max(*pieces, sum(pieces) / GPUS)
    uncut = [seconds[c.name] for c in plan.order]
    return {
        "workers": GPUS,
        "cells": len(uncut),
        "parts": len(pieces),
        "sum of seconds": sum(uncut),
        "lower bound": bound,
        "makespan": makespan(pieces, GPUS),
        "over the bound": makespan(pieces, GPUS) / bound,
        "without cuts": makespan(uncut, GPUS) / bound,
    }


if __name__ == "__main__":
    main()
