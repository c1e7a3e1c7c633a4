"""Variants by name, with all that they are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.compose import compose_model, entry, known, unknown
from harness.config.typed import typed
from harness.config.variants import VARIANTS


@dataclass(frozen=True)
class VariantSpec:
    """A variant's name in tables, its method and its checked config."""

    label: str
    method: str
    config: Any


def compose_variant(
    name: str, donor: str | None, settings: Mapping[str, Any], of_model: Mapping[str, Any] | None = None
) -> tuple[VariantSpec, set[str]]:
    """A variant by name.

    Args:
        name: a file of ``conf/variant/``.
        donor: the model's own donor, which a config reads as ``${model.donor}``.
        settings: keys to replace; those the variant lacks are left out.
        of_model: method or variant -> the model's own settings, which ``settings`` replace; a variant's stand above
            its method's.

    Returns:
        The variant and the settings that it took.
    """
    if name not in known("variant"):
        raise unknown("variant", name, known("variant"))
    content = entry("variant", name, donor)
    method = content.get("method")
    if method not in VARIANTS:
        raise ValueError(f"conf/variant/{name}.yaml: {unknown('method', str(method), sorted(VARIANTS))}")
    kind = VARIANTS[method]
    keys = {f.name for f in fields(kind)} - {"method"}
    own = _own(of_model, method, name)
    taken = {k: v for k, v in settings.items() if k in keys}
    try:
        merged = OmegaConf.merge(*_replacing([content, *own, taken]))
    except OmegaConfBaseException as error:
        raise ValueError(f"variant {name}: {str(error).splitlines()[0]}") from error
    config: Any = typed(kind, merged, f"variant {name}")
    _compose_inner(config, donor, of_model)
    extra = ",".join(f"{k}={short(v)}" for k, v in sorted(taken.items()))
    return VariantSpec(f"{name}({extra})" if extra else name, method, config), set(taken)


def compose_entry(
    listed: Any, donor: str | None, settings: Mapping[str, Any], of_model: Mapping[str, Any] | None = None
) -> tuple[VariantSpec, set[str]]:
    """A variant as a run lists it: a name, or ``{variant: NAME, KEY: VALUE, name: LABEL}`` for one of its own.

    Args:
        listed: what stands in the list.
        donor: as in `compose_variant`.
        settings: the run's keys, which replace the listed ones.
        of_model: as in `compose_variant`.

    Returns:
        The variant, called LABEL where that is given, and the run's settings that it took.

    Raises:
        ValueError: for an unknown variant or key, or a label that cannot be one.
    """
    if isinstance(listed, str):
        return compose_variant(listed, donor, settings, of_model)
    if not isinstance(listed, Mapping) or not isinstance(listed.get("variant"), str):
        raise ValueError(f"{listed!r} is no variant: give a name, or {{variant: NAME, KEY: VALUE, name: LABEL}}")
    own = {key: value for key, value in listed.items() if key not in ("variant", "name")}
    whole = OmegaConf.to_container(OmegaConf.merge(own, dict(settings)))
    assert isinstance(whole, dict)
    spec, taken = compose_variant(listed["variant"], donor, {str(k): v for k, v in whole.items()}, of_model)
    if strange := sorted(set(own) - taken):
        raise ValueError(f"variant {listed['variant']} has no setting {', '.join(strange)}")
    taken &= set(settings)
    if (label := listed.get("name")) is None:
        return spec, taken
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", str(label)) or label in known("variant"):
        raise ValueError(
            f"name {label!r} of a variant in a list: letters, digits and _ . + -, and no variant's own name"
        )
    extra = ",".join(f"{key}={short(settings[key])}" for key in sorted(taken))
    return VariantSpec(f"{label}({extra})" if extra else str(label), spec.method, spec.config), taken


def _replacing(layers: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Layers of settings, the last above the others; who names experts or tasks names all of them."""
    out = [dict(layer) for layer in layers]
    for i, layer in enumerate(out):
        for key in {"experts", "tasks"} & set(layer):
            for below in out[:i]:
                below.pop(key, None)
    return out


def _compose_inner(config: Any, donor: str | None, of_model: Mapping[str, Any] | None) -> None:
    """Variants that a variant is made of, in the place of their names."""
    if hasattr(config, "steps"):
        config.steps = [_step(step, donor, of_model) for step in config.steps]
    if isinstance(experts := getattr(config, "experts", None), dict):
        config.experts = {category: _step(expert, donor, of_model) for category, expert in experts.items()}
    elif experts is not None:
        config.experts = [_step(expert, donor, of_model) for expert in experts]
    if hasattr(config, "expert"):  # it is trained on another model, with that model's settings
        there = compose_model(config.source)[1] if config.source else None
        config.expert = _step(config.expert, there.donor if there else None, there.variant if there else None)


def inner_of(spec: VariantSpec) -> list[VariantSpec]:
    """A variant, and all that it is made of."""
    experts = getattr(spec.config, "experts", None) or []
    parts = [
        *(getattr(spec.config, "steps", None) or []),
        *(experts.values() if isinstance(experts, dict) else experts),
    ]
    if expert := getattr(spec.config, "expert", None):
        parts.append(expert)
    return [spec, *(inner for part in parts for inner in inner_of(part))]


def _own(of_model: Mapping[str, Any] | None, method: str, name: str) -> list[Mapping[str, Any]]:
    """A model's settings for the variants of one method, then for one variant."""
    if wrong := sorted(set(of_model or {}) - set(VARIANTS) - set(known("variant"))):
        raise ValueError(
            f"variant.{wrong[0]} in the model's config: a method or a variant is expected there; "
            f"methods: {', '.join(sorted(VARIANTS))}"
        )
    wanted = [method] if name == method else [method, name]
    return [(of_model or {}).get(key) or {} for key in wanted]


def _step(step: Any, donor: str | None, of_model: Mapping[str, Any] | None) -> VariantSpec:
    """A step of a composed variant: a variant's name, or ``{variant: name, key: value, ...}``."""
    if isinstance(step, str):
        return compose_variant(step, donor, {}, of_model)[0]
    if not isinstance(step, Mapping):
        raise ValueError(f"{step!r} is no variant: give a name, or {{variant: NAME, KEY: VALUE}}")
    settings = dict(step)
    name = settings.pop("variant", None)
    if name is None:
        raise ValueError(f"a step or an expert needs 'variant': {step}")
    spec, taken = compose_variant(name, donor, settings, of_model)
    if taken != set(settings):
        raise ValueError(f"step {name}: unknown keys {sorted(set(settings) - taken)}")
    return spec


def short(value: Any) -> str:
    """A setting as it stands in a label."""
    if isinstance(value, Mapping):
        return "+".join(f"{key}:{short(v)}" for key, v in sorted(value.items()))
    return "+".join(map(short, value)) if isinstance(value, list) else str(value)
