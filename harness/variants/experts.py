"""Trained z as experts: where they lie, and the z of one model given to another (Transformer-Squared, table 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.config.specs import VariantSpec
from harness.config.tuning import TransferVariant
from harness.models import Base, tokenizer_digest
from harness.patch import Patch
from harness.variants import adapter, tuned
from harness.variants.context import Context
from harness.variants.injected import injected

ORDERS = ("ordered", "shuffled")
ROOT = "base_model.model."


def expert_folder(base: Base, spec: VariantSpec, context: Context) -> Path:
    """The folder of an expert's adapter, trained if need be.

    Raises:
        ValueError: for a variant that is no SVF adapter.
    """
    if spec.method == "svf":
        return tuned.trained(base, spec.config, context)
    if spec.method == "transfer":
        return transferred(base, spec.config, context)
    if spec.method == "adapter":
        folder = adapter.folder_of(spec.config)
        kind = adapter.read_json(folder, "adapter_config.json").get("peft_type")
        if kind != "SVF":
            raise ValueError(
                f"expert {spec.label}: {folder} holds an adapter of kind {kind}; z are mixed, so SVF is needed"
            )
        return folder
    raise ValueError(
        f"expert {spec.label} is made by {spec.method}; z are mixed, so it has to be svf, transfer or adapter"
    )


def build(base: Base, config: TransferVariant, context: Context) -> Patch:
    """The patch that another model's z makes of this base.

    Raises:
        ValueError: if the models' weights have other shapes, or the expert is no SVF adapter.
    """
    return tuned.patch_of(base, config, transferred(base, config, context), "transfer")


def transferred(base: Base, config: TransferVariant, context: Context) -> Path:
    """The folder of an adapter for this base with the z that was trained on another."""
    if config.order not in ORDERS:
        raise ValueError(f"order {config.order!r}: expected {' or '.join(ORDERS)}")
    if not config.source or context.base is None:
        raise ValueError("transfer: no source; e.g. variant.source=NAME|PATH|HUB_ID")
    source = context.base(config.source)
    if source.fingerprint == base.fingerprint:
        raise ValueError(f"transfer: {config.source} is the base itself")
    assert isinstance(config.expert, VariantSpec)
    folder = expert_folder(source, config.expert, context)
    key = {
        "base": base.fingerprint,
        "source": source.fingerprint,
        "tokenizer": tokenizer_digest(base.tokenizer),
        "expert": adapter.digest_of(folder),
        "versions": tuned.versions(),
        "config": asdict(config),
    }
    return context.folder_once("transfer", key, partial(_transfer, base, source, config, folder))


def _transfer(base: Base, source: Base, config: TransferVariant, trained: Path, folder: Path) -> None:
    settings, z = read_z(base, trained, _names(source, base))
    rng = torch.Generator().manual_seed(config.seed)
    if config.order == "shuffled":
        z = {name: values[torch.randperm(len(values), generator=rng)] for name, values in sorted(z.items())}
    with injected(base, settings) as adapted:
        stored = dict(adapted.base_model.model.named_parameters())
        for name, values in z.items():
            stored[f"{name}.svf_z.default"].data.copy_(values)
        tuned.keep(adapted, folder, {"parameters": sum(map(len, z.values())), "seed": config.seed})


def _names(source: Base, base: Base) -> dict[str, str]:
    """Module of one model -> module of another that is the same part of the same layer."""
    there = {(s.part, s.layer): s.name for s in base.anatomy.sites if not s.is_bias}
    own = {s.name: there.get((s.part, s.layer)) for s in source.anatomy.sites if not s.is_bias}
    return {a.removesuffix(".weight"): b.removesuffix(".weight") for a, b in own.items() if b is not None}


def read_z(base: Base, folder: Path, names: Mapping[str, str] | None = None) -> tuple[Any, dict[str, Tensor]]:
    """An SVF adapter's config, and what it stores for each module (z, or p of the conserving form).

    Args:
        base: the model that it is to fit.
        folder: where it lies.
        names: module of the model that it was trained on -> module of the base; None where these are equal.

    Raises:
        ValueError: if it does not fit the base.
    """
    from peft import PeftConfig

    import harness.svf  # noqa: F401 - makes svf known to PEFT

    adapter.check_files(folder)
    settings = PeftConfig.from_pretrained(str(folder))
    settings.inference_mode = False
    try:
        stored = load_file(folder / "adapter_model.safetensors")
    except SafetensorError as error:
        raise ValueError(
            f"{folder}: its weights are damaged: {error}. Delete the folder to make them again."
        ) from error
    z = {key.removeprefix(ROOT).removesuffix(".svf_z"): values for key, values in stored.items()}
    if names is not None:
        z = {names.get(name, name): values for name, values in z.items()}
        settings.target_modules = set(z)
    own = dict(base.model.named_modules())
    for name, values in z.items():
        weight = getattr(own.get(name), "weight", None)
        if weight is None:
            raise ValueError(f"{folder}: {base.name} has no module {name}; z goes between models of equal shape")
        if min(weight.shape) != len(values):
            raise ValueError(
                f"{folder}: {len(values)} singular values of {name}, {base.name} has {min(weight.shape)}; "
                "z goes between models of equal shape"
            )
    return settings, z
