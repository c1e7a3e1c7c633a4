"""Settings of a run whose mistakes would show only after the work."""

from __future__ import annotations

from pathlib import Path

import torch

from harness.config.compose import known, unknown
from harness.config.schema import RunConfig, RuntimeConfig
from harness.engine import ENGINES

TRACKERS = ("mlflow", "wandb", "trackio")
SANDBOXES = ("auto", "bubblewrap", "process")
DTYPES = ("float32", "bfloat16", "float16", "auto")


def check_run(run: RunConfig) -> None:
    """Raises a ValueError for a setting that cannot work."""
    if run.limit is not None and run.limit < 1:
        raise ValueError(f"limit {run.limit}: give a positive number, or null for all documents")
    if run.engine not in ENGINES:
        raise unknown("engine", run.engine, ENGINES)
    _check_runtime(run.runtime)
    earlier = run.results.baseline
    if earlier is not None and not (Path(earlier) / "cells").is_dir():
        raise ValueError(f"results.baseline={earlier}: no results folder of an earlier run (it would hold cells/)")
    if earlier is not None and Path(earlier).resolve() == Path(run.results.dir).resolve():
        raise ValueError(f"results.baseline={earlier} is the folder of this run itself: keep the earlier run elsewhere")
    if wrong := [name for name in run.log.to if name not in TRACKERS]:
        raise unknown("log.to", wrong[0], TRACKERS)
    if run.results.margin < 0:
        raise ValueError(f"results.margin={run.results.margin}: the loss that is allowed, at least 0 (0.01 is a point)")
    if run.sandbox.kind not in SANDBOXES:
        raise unknown("sandbox.kind", run.sandbox.kind, SANDBOXES)
    plain = run.baseline.partition("(")[0]
    if plain not in known("variant"):
        raise unknown("baseline", run.baseline, known("variant"))


def _check_runtime(runtime: RuntimeConfig) -> None:
    for name in ("batch_size", "batch_tokens", "cache_mb"):
        if getattr(runtime, name) < 1:
            raise ValueError(f"runtime.{name}={getattr(runtime, name)}: give a positive number")
    if not 0.0 <= runtime.refill <= 1.0:
        raise ValueError(f"runtime.refill={runtime.refill}: give a share from 0 to 1")
    for name in ("deadline", "cell_deadline"):
        if (seconds := getattr(runtime, name)) is not None and seconds <= 0:
            raise ValueError(f"runtime.{name}={seconds}: give seconds above 0, or null for no deadline")
    for name in ("threads", "gpus_per_worker", "max_length"):
        if (value := getattr(runtime, name)) is not None and value < 1:
            raise ValueError(f"runtime.{name}={value}: give a positive number, or null")
    if runtime.dtype not in DTYPES:
        raise unknown("runtime.dtype", runtime.dtype, DTYPES)
    try:
        torch.device("cpu" if runtime.device == "auto" else runtime.device)
    except RuntimeError as error:
        raise ValueError(f"runtime.device={runtime.device}: not a device; e.g. auto, cpu, cuda") from error
