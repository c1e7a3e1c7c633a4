"""The models of a run's crosscoder: checkpoints by name, or variants of the run's model."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from harness.config.compose import known, names_of
from harness.config.crosscoder import StudyConfig
from harness.config.schema import RunConfig
from harness.config.specs import compose_entry
from harness.config.typed import typed
from harness.crosscoder.lineup import Member
from harness.crosscoder.study import check, study
from harness.evaluation.cells import file_name
from harness.evaluation.grid import model_ref, source_of
from harness.loading import device_of
from harness.models import Base, ModelRef, load_base, load_model
from harness.variants import Context, build


def crosscoder_configs(run: RunConfig) -> dict[str, StudyConfig]:
    """The studies of a run: one of checkpoints, or one of each model's variants.

    Raises:
        ValueError: for unknown settings, or names that are partly variants.
    """
    given = dict(run.crosscoder or {})
    if wrong := {"out", "device", "progress"} & set(given):
        raise ValueError(
            f"crosscoder: {', '.join(sorted(wrong))} follows from the run; take results.dir=... or runtime.*"
        )
    config = typed(StudyConfig, given, "crosscoder")
    config.device, config.progress = run.runtime.device, False
    variants = _are_variants(config)
    folder = Path(run.results.dir) / "crosscoder"
    names = [model_ref(model, run)[0].name for model in names_of(run.model)] if variants else ["checkpoints"]
    out = {}
    for name in names:
        one = replace(config, out=str(folder / file_name(f"{name}@{run.tag}" if run.tag else name)))
        check(one)
        out[name] = one
    return out


def crosscoder_of(run: RunConfig, model: str) -> str:
    """One study of a run.

    Args:
        run: the run.
        model: one of `crosscoder_configs`.

    Returns:
        What was done, in a line.

    Raises:
        ValueError: for models, text or tasks that do not fit.
    """
    config = crosscoder_configs(run)[model]
    said: list[str] = []
    members = None
    if _are_variants(config):
        name = next(name for name in names_of(run.model) if model_ref(name, run)[0].name == model)
        members = _variants(run, name, config)
    page = study(config, said.append, members)
    return f"{'; '.join(said)}; written: {page}"


def _are_variants(config: StudyConfig) -> bool:
    """Whether the models are variants of the run's model; a name that is a variant's is one."""
    every = set(known("variant"))
    found = [name for name in config.models if name in every]
    if found and len(found) < len(config.models):
        other = next(name for name in config.models if name not in every)
        raise ValueError(
            f"crosscoder.models: {found[0]} is a variant and {other} is none; give variants, or checkpoints"
        )
    if found and config.checkpoints:
        raise ValueError("crosscoder: variants have no checkpoints; give crosscoder.models or crosscoder.checkpoints")
    return bool(found)


def _variants(run: RunConfig, model: str, config: StudyConfig) -> list[Member]:
    """Variants of one resident base."""
    ref, known_of = model_ref(model, run)
    device = device_of(config.device)
    load = lru_cache(maxsize=1)(lambda: load_base(replace(ref, dtype=config.dtype, device=device, device_map=None)))

    def other(name: str, place: str = "cpu") -> ModelRef:
        return replace(model_ref(name, run)[0], dtype=config.dtype, device=place, device_map=None)

    def another(name: str) -> Base:
        return load_base(other(name, device))

    patches = Path(run.results.patches or Path(run.results.dir) / "patches")
    context = Context(lambda name: load_model(other(name)), source_of(run), patches, base=another)
    out = []
    for name in config.models:
        spec, _ = compose_entry(name, known_of.donor, run.variant, known_of.variant)
        out.append(Member(spec.label, load, build(load(), spec, context)))
    return out
