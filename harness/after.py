"""What stands beside the cells of a run: differences, circuits, crosscoders, levels of answers, a paper's numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.circuits.study import StudyConfig, check, study_task
from harness.config.compose import names_of
from harness.config.schema import RunConfig
from harness.config.typed import typed
from harness.evaluation.bench import Bench
from harness.evaluation.cells import file_name
from harness.evaluation.grid import model_ref
from harness.levels import judge_run
from harness.report.published import claims, keep
from harness.stethoscope.delta import DeltaConfig, measure, write
from harness.studied import crosscoder_configs, crosscoder_of


def after_cells(bench: Bench, say: Callable[[str], None]) -> list[str]:
    """Judges answers by level and keeps a paper's numbers beside the cells.

    Args:
        bench: of the run; its cells are stored.
        say: is told what goes on, line by line.

    Returns:
        What went wrong, in sentences; the cells stand in any case.
    """
    run = bench.grid.run
    problems = []
    try:
        for block in run.published:
            claims(block)
        if run.published:
            keep(Path(run.results.dir), run.published)
    except (ValueError, OSError) as error:
        problems.append(f"published: {error}")
    problems += judge_run(bench, say)
    for problem in problems:
        say(f"error: {problem}")
    return problems


def delta_config(run: RunConfig, model: str) -> DeltaConfig:
    """What a run compares of one of its models.

    Raises:
        ValueError: for unknown settings.
    """
    given = dict(run.delta or {})
    if wrong := {"base", "out"} & set(given):
        raise ValueError(f"delta: {', '.join(sorted(wrong))} follows from the run; take model=... and results.dir=...")
    config = typed(DeltaConfig, given, "delta")
    config.base = model
    config.other = config.other or run.variant.get("donor")
    name = model_ref(model, run)[0].name
    config.out = str(Path(run.results.dir) / "delta" / file_name(f"{name}@{run.tag}" if run.tag else name))
    return config


def delta_of(run: RunConfig, model: str, progress: bool = True) -> str:
    """Compares a model with its donor and writes the page, the JSON and the figures.

    Returns:
        What was done, in a line.

    Raises:
        ValueError: for models that cannot be compared.
    """
    config = delta_config(run, model)
    result = measure(config, progress)
    paths = write(result, config)
    return f"{len(result.rows)} tensors of {result.base} and {result.other} compared, written: {paths[0]}"


def circuits_config(run: RunConfig, model: str) -> StudyConfig:
    """Which circuits a run looks for in one of its models.

    Raises:
        ValueError: for unknown settings.
    """
    given = dict(run.circuits or {})
    if wrong := {"model", "out", "device"} & set(given):
        raise ValueError(
            f"circuits: {', '.join(sorted(wrong))} follows from the run; take model=..., results.dir=... or runtime.*"
        )
    config = typed(StudyConfig, given, "circuits")
    # Not the run's dtype: effects are small, and drown in bfloat16.
    config.model, config.device = model, run.runtime.device
    name = model_ref(model, run)[0].name
    config.out = str(Path(run.results.dir) / "circuits" / file_name(f"{name}@{run.tag}" if run.tag else name))
    check(config)
    return config


@dataclass(frozen=True)
class Extra:
    """Something that a run measures beside its cells.

    Attributes:
        kind: ``delta``, ``circuits`` or ``crosscoder``.
        name: what tells it from others of its kind.
        about: what it is, in a line.
        measure: does it and says what was done; a ValueError or OSError says why it could not be.
    """

    kind: str
    name: str
    about: str
    measure: Callable[[], str]


def extras_of(run: RunConfig) -> list[Extra]:
    """All that a run measures beside its cells, its settings checked.

    Raises:
        ValueError: for settings that are wrong.
    """
    out = []
    for model in names_of(run.model) if run.delta is not None else []:
        delta_config(run, model)
        out.append(Extra("delta", model, f"delta: {model} and its donor", partial(delta_of, run, model, False)))
    for model in names_of(run.model) if run.circuits is not None else []:
        config = circuits_config(run, model)
        for task in config.tasks:
            about = f"circuits: {task} in {model} by {len(config.methods)} methods"
            out.append(Extra("circuits", f"{model}-{task}", about, partial(study_task, config, task)))
    for name, study in crosscoder_configs(run).items() if run.crosscoder is not None else []:
        models = study.models or [f"three of {len(study.checkpoints)} checkpoints"]
        about = f"crosscoder: {', '.join(models)}{'' if name == 'checkpoints' else f' of {name}'}"
        out.append(Extra("crosscoder", name, about, partial(crosscoder_of, run, name)))
    return out
