"""Variants in sequence: each is built on the model that the ones before it made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from harness.anatomy import Anatomy
from harness.config.specs import VariantSpec
from harness.config.variants import ComposedVariant
from harness.models import Base
from harness.patch import Change, Patch
from harness.variants.context import Context, provenance


def build(
    base: Base,
    config: ComposedVariant,
    context: Context,
    build_one: Callable[[Base, VariantSpec, Context], Patch],
) -> Patch:
    """Builds each step on the patched base and joins the patches.

    Raises:
        ValueError: if there are no steps, or a step cannot be built.
    """
    if not config.steps:
        raise ValueError("composed: no steps; e.g. variant.steps=[oproj_merged,layer_removed]")
    patch = Patch()
    changes: list[Change] = []
    donors: dict[str, str] = {}
    seeds: dict[str, int] = {}
    for number, step in enumerate(config.steps):
        with patch.applied(base.model) as model:
            current = replace(base, anatomy=Anatomy.of(model), fingerprint=_fingerprint(base, patch))
            part = build_one(current, step, context)
        changes += part.provenance.changes
        donors |= part.provenance.donors
        seeds |= {f"{number}.{k}": v for k, v in part.provenance.seeds.items()}
        patch = _under_one_name(patch, base, untied=part.untied and not patch.untied)
        part = _under_one_name(part, base, untied=False) if not (patch.untied or part.untied) else part
        patch = patch.then(part, base.anatomy.architecture.layers, part.provenance)
    record = replace(provenance(base, config, changes), donors=donors, seeds=seeds)
    return replace(patch, provenance=record)


def _fingerprint(base: Base, patch: Patch) -> str:
    """What tells the model that a step is built on from the base: what is trained on it is kept under this."""
    return (
        base.fingerprint
        if patch.is_empty
        else hashlib.sha256(f"{base.fingerprint}|{patch.digest}".encode()).hexdigest()
    )


def _under_one_name(patch: Patch, base: Base, untied: bool) -> Patch:
    """A tied tensor stands under the embedding's name, so that steps meet; untying gives it both names."""
    embed, head = base.anatomy.head_names
    if not base.anatomy.tied or patch.untied or not {embed, head} & set(patch.tensors):
        return patch
    value = patch.tensors.get(embed, patch.tensors.get(head))
    assert value is not None
    rest = {name: t for name, t in patch.tensors.items() if name not in (embed, head)}
    return replace(patch, tensors={**rest, embed: value, **({head: value} if untied else {})})
