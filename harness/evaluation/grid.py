"""The cells of a run, checked as far as can be without loading a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.anatomy import parse_parts
from harness.config.claims import Claim, compose_claims
from harness.config.compose import compose_model, compose_task, entries_of, expand_tasks, known, names_of, unknown
from harness.config.paths import LAB_WEIGHTS
from harness.config.replicas import of_all_seeds, replicas
from harness.config.schema import GateConfig, ModelConfig, RunConfig, TaskConfig
from harness.config.specs import VariantSpec, compose_entry, compose_variant, inner_of, short
from harness.config.variants import DESTROY_MODES, NoiseVariant
from harness.data import DataSource
from harness.evaluation.cells import CellName
from harness.evaluation.settings import check_run
from harness.models import ModelRef
from harness.sandbox import why_missing
from harness.tasks.check import check_task

DONOR_KEYS = ("donor", "source")


@dataclass(frozen=True)
class PlannedCell:
    """A cell before anything is loaded."""

    name: CellName
    model: ModelRef
    variant: VariantSpec
    task: TaskConfig
    gate: GateConfig | None
    trusted: bool


@dataclass(frozen=True)
class Grid:
    """All cells of a run, ordered by model, variant, task: a worker changes models and patches least."""

    run: RunConfig
    cells: tuple[PlannedCell, ...]

    def find(self, name: CellName) -> PlannedCell:
        """The planned cell of a name."""
        return next(c for c in self.cells if c.name == name)

    def sibling(self, cell: PlannedCell, variant: str) -> PlannedCell:
        """The cell of another variant of the same model and task."""
        return self.find(replace(cell.name, variant=variant))


def model_ref(name: str, run: RunConfig) -> tuple[ModelRef, ModelConfig]:
    """Where a model lies, and its config."""
    short, config = compose_model(name)
    runtime = run.runtime
    ref = ModelRef(
        short,
        config.path,
        config.revision,
        runtime.dtype,
        runtime.device,
        runtime.attn_implementation,
        runtime.trust_remote_code,
        runtime.device_map,
    )
    return ref, config


def models_of(run: RunConfig) -> list[str]:
    """The names that a run's models have in its tables."""
    names = [compose_model(name)[0] for name in names_of(run.model)]
    return [f"{name}@{run.tag}" if run.tag else name for name in names]


def plan_grid(run: RunConfig) -> Grid:
    """Composes every model, variant and task of a run.

    Raises:
        ValueError: for unknown names, settings that nothing takes, combinations that cannot work.
    """
    source_of(run)
    check_run(run)
    run = _for_claims(run)
    cells: list[PlannedCell] = []
    used: set[str] = set()
    models = names_of(run.model)
    beside = (run.delta, run.circuits, run.crosscoder)
    if not models or not (entries_of(run.variants) or any(extra is not None for extra in beside)):
        raise ValueError("a run needs at least one model and one variant")
    for model in models:
        ref, model_config = model_ref(model, run)
        if any(c.model.name == ref.name and c.model != ref for c in cells):
            raise ValueError(f"two models are called {ref.name!r}; their results would share a folder")
        specs = _variants(run, model_config, used)
        composed = {n: compose_task(n, run.task) for n in expand_tasks(names_of(run.tasks) or [model_config.suite])}
        used |= {f"task.{key}" for _, taken in composed.values() for key in taken}
        tasks = {_label(n, config, taken): (n, config) for n, (config, taken) in composed.items()}
        for spec in specs:
            _check_variant(spec, ref, run)
            for label, (task, config) in tasks.items():
                check_task(task, config)
                trusted = _is_lab(ref) and all(_is_lab(r) for r in _donors(spec, run))
                name = CellName(f"{ref.name}@{run.tag}" if run.tag else ref.name, spec.label, label)
                cells.append(PlannedCell(name, ref, spec, config, _gate(run, task, spec.label), trusted))
    asked = {f"variant.{k}" for k in run.variant} | {f"task.{k}" for k in run.task}
    if unused := sorted(asked - used):
        raise ValueError(f"no chosen variant or task has the setting {', '.join(unused)}; {_offers(cells)}")
    grid = Grid(run, tuple(cells))
    _check_gates(grid)
    _check_levels(grid)
    _check_sandbox(grid)
    return grid


def _for_claims(run: RunConfig) -> RunConfig:
    """A run that names claims, and no variants or tasks, runs what they need.

    Raises:
        ValueError: for an unknown claim, or one that names what there is not.
    """
    claims = [c for c in compose_claims(run.claims, [compose_model(n)[0] for n in names_of(run.model)]) if c.of_cells]
    if not claims or entries_of(run.variants) != ["base"]:
        return run
    _check_names(claims)
    pairs = [pair for claim in claims for pair in claim.pairs]
    levels = [t for c in claims if c.config.measure.startswith("level") for t in c.config.tasks]
    judged = replace(run.levels, tasks=list(dict.fromkeys([*run.levels.tasks, *levels])))
    variants = list(dict.fromkeys(["base", *(name for v, a, _ in pairs for name in (v, a))]))
    tasks = run.tasks or list(dict.fromkeys(task for _, _, task in pairs))
    return replace(run, variants=variants, tasks=tasks, levels=judged)


def _check_names(claims: Sequence[Claim]) -> None:
    """What claims make a run of is there."""
    problems = []
    for claim in claims:
        named = {"variant": [*claim.config.variants, *claim.config.against], "task": claim.config.tasks}
        for group, names in named.items():
            there = known(group)
            wrong = [unknown(group, name, there) for name in names if name not in there]
            problems += [f"conf/claim/{claim.name}.yaml: {error}" for error in wrong]
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))


def _label(task: str, config: TaskConfig, taken: set[str]) -> str:
    """A task's name with the settings that were replaced, so that a sweep's cells lie side by side."""
    extra = ",".join(f"{key}={short(getattr(config, key))}" for key in sorted(taken))
    return f"{task}({extra})" if extra else task


def _variants(run: RunConfig, model: ModelConfig, used: set[str]) -> list[VariantSpec]:
    specs = []
    for listed in entries_of(run.variants):
        spec, taken = compose_entry(listed, model.donor, run.variant, model.variant)
        used |= {f"variant.{key}" for key in taken}
        specs += replicas(spec, run.seeds)
    labels = [spec.label for spec in specs]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"two variants are called {twice[0]}; give one of them a name: {{variant: ..., name: LABEL}}")
    return specs


def _offers(cells: Sequence[PlannedCell]) -> str:
    keys = {c.variant.method: ", ".join(sorted(set(vars(c.variant.config)) - {"method"})) for c in cells}
    return "; ".join(f"{method} has: {names or 'none'}" for method, names in sorted(keys.items()))


def _check_variant(spec: VariantSpec, ref: ModelRef, run: RunConfig) -> None:
    for step in inner_of(spec):
        for parts in [getattr(step.config, "parts", None), *(r.parts for r in getattr(step.config, "rules", ()))]:
            if parts:
                parse_parts(parts)
        if isinstance(step.config, NoiseVariant):
            for name in ("batch_size", "batch_tokens"):
                if (value := getattr(step.config, name)) < 1:
                    raise ValueError(f"variant {step.label}: {name} {value}: give a positive number")
        mode = getattr(step.config, "mode", None)
        if mode is not None and mode not in DESTROY_MODES:
            raise unknown(f"mode of variant {step.label}", mode, DESTROY_MODES)
        needs_parts = step.method in ("merge", "destroy") and mode != "remove"
        if needs_parts and not (step.config.parts or getattr(step.config, "rules", None)):
            raise ValueError(f"variant {step.label}: no parts; e.g. variant.parts=[o_proj]")
        for key in DONOR_KEYS:
            if hasattr(step.config, key) and getattr(step.config, key) is None:
                raise ValueError(
                    f"variant {step.label} of model {ref.name}: no {key}, and conf/models names none for this model; "
                    f"set variant.{key}=NAME|PATH|HUB_ID"
                )
    for donor in _donors(spec, run):
        if (donor.path, donor.revision) == (ref.path, ref.revision) and spec.method == "checkpoint":
            raise ValueError(f"variant {spec.label}: {donor.name} is the base itself")


def _donors(spec: VariantSpec, run: RunConfig) -> list[ModelRef]:
    """Models that a variant takes from; unknown names raise here, before anything runs."""
    named = [getattr(s.config, key) for s in inner_of(spec) for key in DONOR_KEYS if getattr(s.config, key, None)]
    return [model_ref(name, run)[0] for name in named]


def _is_lab(ref: ModelRef) -> bool:
    return LAB_WEIGHTS.resolve() in Path(ref.path).resolve().parents


def _gate(run: RunConfig, task: str, variant: str) -> GateConfig | None:
    gate = run.gates.get(task)
    variant = of_all_seeds(variant)
    if gate is None or (gate.variants and variant not in gate.variants) or variant in (gate.above, gate.not_below):
        return None
    return gate


def _check_gates(grid: Grid) -> None:
    tasks = {c.name.task.partition("(")[0] for c in grid.cells}
    variants = {c.name.variant for c in grid.cells}
    for task, gate in grid.run.gates.items():
        if task not in tasks:
            raise unknown("task in gates", task, sorted(tasks))
        named = {*gate.variants} - {of_all_seeds(v) for v in variants}
        for name in [*({gate.above, gate.not_below} - variants - {None}), *named]:
            raise ValueError(f"gates.{task}: {name!r} is not among the variants of this run: {sorted(variants)}")


def _check_levels(grid: Grid) -> None:
    levels = grid.run.levels
    for task in levels.tasks:  # those that are not chosen are not judged: an experiment may be run in part
        if task not in known("task"):
            raise unknown("task in levels.tasks", task, known("task"))
    for variant in levels.destroyed:
        if variant not in known("variant"):
            raise unknown("variant in levels.destroyed", variant, known("variant"))
        if (method := compose_variant(variant, None, {})[0].method) not in ("destroy", "composed"):
            raise ValueError(f"levels.destroyed: {variant} destroys nothing ({method}); its answers are no nonsense")
    for key in ("prompts", "tokens", "documents", "judge_tokens"):
        if (value := getattr(levels, key)) is not None and value < 1:
            raise ValueError(f"levels.{key}={value}: give a positive number")


def _check_sandbox(grid: Grid) -> None:
    kind = grid.run.sandbox.kind
    needy = [c for c in grid.cells if c.task.scorer == "code" and not (c.trusted and kind == "auto")]
    reason = why_missing() if needy and kind in ("auto", "bubblewrap") else None
    if reason:
        raise ValueError(
            f"task {needy[0].name.task} runs programs that {needy[0].name.model} writes: {reason}. "
            "Or accept resource limits only, with sandbox=process."
        )


def source_of(run: RunConfig) -> DataSource:
    """The data source of a run."""
    root = Path(run.data.root).expanduser() if run.data.source == "mirror" and run.data.root else None
    return DataSource(run.data.source, root)  # type: ignore[arg-type]
