"""Parts of a donor in the base: replaced, or interpolated by a factor.

Shao & Wu, "Who Reasons in the Large Language Models?" (NeurIPS 2025), section 2.2: M1 takes
``o_proj`` from the reasoning model, M2 ``q,k,v``, M3 the ``mlp``; nothing is tuned afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.anatomy import Anatomy, Selector, Site
from harness.config.variants import MergeVariant, Rule
from harness.models import Base
from harness.patch import Change, Patch
from harness.variants.context import Context, Donor, provenance


def build(base: Base, config: MergeVariant, context: Context) -> Patch:
    """Builds the patch; a later rule works on what the rules before it made.

    Raises:
        ValueError: for a donor of another shape, a selector without match, a factor outside [0, 1],
            or a tied base that would need two different tensors for one.
    """
    rules = _rules(config)
    selected = [(rule, Selector(rule.parts, rule.layers, rule.bias).resolve(base.anatomy)) for rule in rules]
    donor = context.donor(base, config.donor)
    theirs = Anatomy.of(donor.model)
    check_shapes(base, donor, [site for _, sites in selected for site in sites])
    _check_ties(base, donor, theirs, config.untie, {site.part for _, sites in selected for site in sites})
    tensors: dict[str, Tensor] = {}
    changes: list[Change] = []
    own = dict(base.model.named_parameters(remove_duplicate=False))
    other = dict(donor.model.named_parameters(remove_duplicate=False))
    tied = base.anatomy.tied and not config.untie
    for rule, sites in selected:
        shared = tied and any(s.part == "embed" for s in sites)
        for site in sites:
            if shared and site.part == "head":
                continue  # the embedding's own tensor, taken already
            # A tied base has one tensor for both names: rules meet under one of them.
            name = base.anatomy.head_names[0] if site.part == "head" and tied else site.name
            stored = tensors.get(name, own[name])
            part = interpolate(site.layout.read(stored), site.layout.read(other[site.name]), rule.factor)
            tensors[name] = site.layout.write(stored.detach(), part)
            share = "" if rule.factor == 1 else f" x {rule.factor:g}"
            changes.append(Change(site.name, site.part, site.layer, part.numel(), f"{donor.name}{share}"))
    return Patch(tensors, untied=config.untie, provenance=provenance(base, config, changes, (donor,)))


def interpolate(ours: Tensor, theirs: Tensor, factor: float) -> Tensor:
    """``(1 - factor) * ours + factor * theirs`` in fp32, in our dtype; factor 1 copies bit by bit."""
    theirs = theirs.detach().to(ours.device)
    if factor == 1:
        return theirs.to(ours.dtype)
    return torch.lerp(ours.detach().float(), theirs.float(), factor).to(ours.dtype)


def check_shapes(base: Base, donor: Donor, sites: list[Site]) -> None:
    """Raises one ValueError with everything in which the donor differs in size, with both sizes."""
    theirs = Anatomy.of(donor.model)
    own = dict(base.model.named_parameters(remove_duplicate=False))
    other = dict(donor.model.named_parameters(remove_duplicate=False))
    wrong = []
    for size in ("n_layers", "n_heads", "n_kv_heads", "head_size"):
        ours, there = getattr(base.anatomy, size), getattr(theirs, size)
        if ours != there:
            wrong.append(f"{size}: base {ours}, donor {there}")
    for name in dict.fromkeys(site.name for site in sites):
        if name in other and own[name].shape != other[name].shape:
            wrong.append(f"{name}: base {tuple(own[name].shape)}, donor {tuple(other[name].shape)}")
        elif name not in other:
            wrong.append(f"{name}: the donor has no such tensor")
    parts, layers = {s.part for s in sites}, {s.layer for s in sites}
    for site in theirs.sites:
        if site.part in parts and site.layer in layers and site.name not in own:
            wrong.append(f"{site.name}: the base has no such tensor")
    if wrong:
        more = f"\n  and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise ValueError(f"donor {donor.name} does not fit base {base.name}:\n  " + "\n  ".join(wrong[:10]) + more)


def _rules(config: MergeVariant) -> list[Rule]:
    if config.rules and config.parts:
        raise ValueError("merge: give either rules or parts (with layers, bias, factor), not both")
    if not config.rules and not config.parts:
        raise ValueError("merge: no parts; e.g. variant.parts=[o_proj]")
    rules = config.rules or [Rule(config.parts, config.layers, config.bias, config.factor)]
    for rule in rules:
        if not 0 <= rule.factor <= 1:
            raise ValueError(f"merge: factor {rule.factor} is outside 0 to 1")
    return list(rules)


def _check_ties(base: Base, donor: Donor, theirs: Anatomy, untie: bool, parts: set[str]) -> None:
    """A tied base has one tensor for embedding and head; an untied donor has two for it."""
    if untie and not base.anatomy.tied:
        raise ValueError(f"untie: embedding and head of {base.name} are not tied")
    if base.anatomy.tied and not theirs.tied and not untie and parts & {"embed", "head"}:
        raise ValueError(
            f"embedding and head are one tensor in {base.name} and two in {donor.name}: "
            "set variant.untie=true to give the variant two, or leave embed and head out"
        )
