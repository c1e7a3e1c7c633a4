"""A circuit written into weights: the heads outside it put out nothing, or a constant.

What a head puts out is multiplied with its columns of the output projection. Columns of zeros are an exact ablation to
zero in every architecture. A constant output mu adds ``W_O[:, h] mu`` to the stream: zeros again, and that vector in
the output projection's bias, exact wherever there is one or can be one. Means by template and position are no
constants; they remain with `harness.circuits.ablation`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.anatomy import Anatomy, Site
from harness.circuits.nodes import Head, everywhere
from harness.patch import Change

# Architectures whose config has one switch for the biases of all four projections. Others (Mistral, Qwen2) compute with
# a bias that is put there, but their saved folders have no place for it.
_SWITCH = {"llama", "qwen3", "olmo", "olmo2", "gpt_neox"}


@dataclass(frozen=True)
class Baked:
    """A circuit as tensors.

    Attributes:
        tensors: stored name -> new tensor.
        config_edits: edits of the config that a saved folder needs.
        changes: what was done, for the record.
        sizes: heads and parameters: kept, ablated, and what a runtime with uneven layers could drop.
    """

    tensors: dict[str, Tensor]
    config_edits: dict[str, Any]
    changes: tuple[Change, ...]
    sizes: Mapping[str, float]


def bake(model: PreTrainedModel, anatomy: Anatomy, heads: Collection[Head], means: Tensor | None) -> Baked:
    """Writes a circuit into weights.

    Args:
        model: the model.
        anatomy: its anatomy.
        heads: the circuit; a head at some positions stays at all.
        means: what the others put out, ``[L, H, D]``; None for zero.

    Raises:
        ValueError: for means of another shape.
    """
    expected = (anatomy.n_layers, anatomy.n_heads, anatomy.head_size)
    if means is not None and tuple(means.shape) != expected:
        raise ValueError(f"means of shape {tuple(means.shape)}, the model's heads are {expected}")
    own = dict(model.named_parameters(remove_duplicate=False))
    kept = {(h.layer, h.head) for h in everywhere(heads)}
    tensors: dict[str, Tensor] = {}
    changes: list[Change] = []
    added = False
    for site in anatomy.sites:
        if site.part != "o_proj" or site.is_bias or site.layer is None:
            continue
        gone = [h for h in range(anatomy.n_heads) if (site.layer, h) not in kept]
        if not gone:
            continue
        stored = own[site.name].detach()
        weight = site.layout.read(stored).clone()
        columns = _columns(gone, anatomy.head_size).to(weight.device)
        constant = None
        if means is not None:
            wide = means[site.layer, gone].reshape(-1).to(weight.device, torch.float64)
            constant = weight[:, columns].double() @ wide
        weight[:, columns] = 0
        tensors[site.name] = site.layout.write(stored, weight)
        changes.append(Change(site.name, "o_proj", site.layer, len(weight) * len(columns), f"0 for {len(gone)} heads"))
        if constant is not None:
            name = site.name.removesuffix("weight") + "bias"
            before = own[name].detach().double() if name in own else torch.zeros_like(constant)
            tensors[name] = (before + constant).to(stored.dtype)
            added |= name not in own
            changes.append(Change(name, "o_proj", site.layer, len(constant), "+ what these heads put out on average"))
    edits = _with_biases(anatomy, own, tensors) if added else {}
    return Baked(tensors, edits, tuple(changes), sizes(anatomy, own, kept))


def sizes(anatomy: Anatomy, own: Mapping[str, Tensor], kept: Collection[tuple[int, int]]) -> dict[str, float]:
    """What the ablation touches, and what it would save in a runtime whose layers may differ in heads.

    Transformers, lm-eval and vLLM multiply with the zeros: the variant is as large and as slow as its base there.
    """
    total = anatomy.n_layers * anatomy.n_heads
    group = anatomy.n_heads // anatomy.n_kv_heads
    dropped = 0
    for site in anatomy.sites:
        if site.layer is None or site.part not in ("q_proj", "k_proj", "v_proj", "o_proj") or site.is_bias:
            continue
        part = site.layout.read(own[site.name])
        gone = [h for h in range(anatomy.n_heads) if (site.layer, h) not in kept]
        if site.part in ("q_proj", "o_proj"):
            dropped += part.numel() * len(gone) // anatomy.n_heads
        else:  # a key or a value can go when every head that shares it does
            groups = sum(all(g * group + i in gone for i in range(group)) for g in range(anatomy.n_kv_heads))
            dropped += part.numel() * groups // anatomy.n_kv_heads
    parameters = sum(p.numel() for p in {id(p): p for p in own.values()}.values())
    return {
        "heads_kept": len(kept),
        "heads_ablated": total - len(kept),
        "parameters_that_could_be_dropped": dropped,
        "share_that_could_be_dropped": dropped / parameters,
        "share_that_is_dropped": 0.0,
    }


def _columns(heads: Collection[int], size: int) -> Tensor:
    return torch.cat([torch.arange(h * size, (h + 1) * size) for h in heads])


def _with_biases(anatomy: Anatomy, own: Mapping[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """One switch gives all projections of all layers a bias: those that lack one get zeros."""
    if anatomy.architecture.model_type not in _SWITCH:
        return {}
    sites: list[Site] = [
        s for s in anatomy.sites if s.part in ("q_proj", "k_proj", "v_proj", "o_proj") and not s.is_bias
    ]
    for site in sites:
        name = site.name.removesuffix("weight") + "bias"
        if name not in own and name not in tensors:
            tensors[name] = own[site.name].new_zeros(own[site.name].shape[0])
    return {"attention_bias": True}
