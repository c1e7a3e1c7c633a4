"""Parts zeroed or drawn anew, or whole layers removed.

Shao & Wu, "Who Reasons in the Large Language Models?" (NeurIPS 2025), section 3. Zero sets all
parameters of a part to 0, ReInit draws them from N(0, 0.02), Remove drops whole layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.anatomy import Selector, parse_layers
from harness.config.variants import DESTROY_MODES, DestroyVariant
from harness.models import Base
from harness.patch import Change, Patch
from harness.variants.context import Context, provenance


def build(base: Base, config: DestroyVariant, context: Context) -> Patch:
    """Builds the patch; ``reinit`` draws on the CPU in fp32, so that devices and dtypes agree.

    Raises:
        ValueError: for an unknown mode, a selector without match, or keys that do not go together.
    """
    if config.mode not in DESTROY_MODES:
        raise ValueError(f"destroy: unknown mode {config.mode!r}; known: {', '.join(DESTROY_MODES)}")
    if config.mode == "remove":
        return _remove(base, config)
    if not config.parts:
        raise ValueError(f"destroy: mode {config.mode} needs parts; e.g. variant.parts=[o_proj]")
    generator = torch.Generator().manual_seed(config.seed)
    tensors: dict[str, Tensor] = {}
    changes: list[Change] = []
    seen_tie: set[int] = set()
    for site in Selector(config.parts, config.layers, config.bias).resolve(base.anatomy):
        parameter = base.model.get_parameter(site.name)
        stored = tensors.get(site.name, parameter.detach())
        if id(parameter) in seen_tie and site.name not in tensors:
            continue  # the head of a tied model: the embedding's tensor has been done
        seen_tie.add(id(parameter))
        part = site.layout.read(stored)
        if config.mode == "zero":
            value = torch.zeros_like(part)
        else:
            value = (torch.randn(part.shape, generator=generator) * config.std).to(part)
        tensors[site.name] = site.layout.write(stored, value)
        source = "0" if config.mode == "zero" else f"N(0, {config.std:g}) seed {config.seed}"
        changes.append(Change(site.name, site.part, site.layer, part.numel(), source))
    seeds = {"reinit": config.seed} if config.mode == "reinit" else {}
    return Patch(tensors, provenance=provenance(base, config, changes, seeds=seeds))


def _remove(base: Base, config: DestroyVariant) -> Patch:
    """Drops whole layers; what is left moves together."""
    if config.parts:
        raise ValueError("destroy: mode remove drops whole layers; leave parts empty")
    gone = parse_layers(config.layers, base.anatomy.n_layers)
    if gone is None:
        raise ValueError('destroy: mode remove needs layers; e.g. variant.layers="1:3"')
    kept = tuple(i for i in range(base.anatomy.n_layers) if i not in gone)
    if not kept:
        raise ValueError(f"destroy: layers {config.layers!r} are all of the model's layers; one must stay")
    changes = []
    for layer in gone:
        name = base.anatomy.layer_name(layer)
        count = sum(p.numel() for p in base.model.get_submodule(name).parameters())
        changes.append(Change(name, "layer", layer, count, "removed"))
    return Patch(kept_layers=kept, provenance=provenance(base, config, changes))
