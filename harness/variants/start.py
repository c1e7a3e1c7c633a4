"""Adapters of LoRA at their start, in a base whose weights stay its own.

PEFT's PiSSA and OLoRA take what the adapter holds at its start out of the base's weights, so that switching it off
gives neither the base nor anything else that was trained. Here the weights stay, and a second adapter, frozen, takes
the start off again: W + s (B A - B0 A0). Switched off, it is the base bit by bit, in every dtype.
"""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.config.par import LoraParVariant
from harness.models import Base
from harness.variants.injected import injected, modules_of

INITS = ("normal", "default", "gaussian", "orthogonal", "pissa", "pissa_niter_N", "olora")
ORIGIN = "origin"
_STD = 0.01  # of the released code's start
_WHOLE = "whole"


@contextmanager
def started(base: Base, config: LoraParVariant) -> Iterator[Any]:
    """The base's own model with a LoRA in it at its start, as PEFT's model; afterwards it is the base again.

    Raises:
        ValueError: for a selector without match, or settings that cannot work.
    """
    from peft import LoraConfig

    _check(config)
    names = list(modules_of(base, config.parts, config.layers))
    init: Any = {"normal": True, "default": True}.get(config.init, config.init)
    settings = LoraConfig(
        target_modules=names,
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=0.0,
        use_rslora=config.rslora,
        use_dora=config.dora,
        init_lora_weights=init,
    )
    weights = [base.model.get_parameter(f"{name}.weight") for name in names] if _cuts(config) else []
    own = [(weight, weight.data, weight.data.clone()) for weight in weights]
    try:
        with injected(base, settings, config.seed) as adapted:
            _give_back(own)
            if config.init == "normal":
                _draw(adapted, config.seed)
            if is_centred(config):
                with torch.random.fork_rng(devices=[]):
                    _centre(adapted, settings)
            yield adapted
    finally:
        _give_back(own)


def is_centred(config: LoraParVariant) -> bool:
    """Whether the adapter counts from its own start."""
    return config.centred or _cuts(config)


def _cuts(config: LoraParVariant) -> bool:
    """Whether PEFT takes the start out of the base's weights."""
    return config.init[:5] in ("pissa", "olora")


def keep_adapter(adapted: Any, folder: Path) -> None:
    """Writes the adapter as a plain LoRA over the base; one that counts from its start has twice the rank."""
    inner = adapted.base_model
    name = "default"
    if ORIGIN in adapted.peft_config:
        name = _WHOLE
        inner.add_weighted_adapter(["default", ORIGIN], [1.0, 1.0], name, combination_type="cat")
    # What is joined holds its scale in its factors, and nothing is to be drawn anew when it is loaded.
    adapted.peft_config[name].init_lora_weights = True
    adapted.peft_config[name].use_rslora = name == "default" and adapted.peft_config[name].use_rslora
    try:
        adapted.save_pretrained(folder, selected_adapters=[name])
    finally:
        if name == _WHOLE:
            adapted.delete_adapter(name)
    if name == _WHOLE:  # PEFT writes adapters of other names into folders of their own
        for path in (folder / name).iterdir():
            path.rename(folder / path.name)
        shutil.rmtree(folder / name)


def _check(config: LoraParVariant) -> None:
    if config.rank < 1:
        raise ValueError(f"lora_par: rank {config.rank}: at least 1")
    plain = re.sub(r"^pissa_niter_\d+$", "pissa_niter_N", config.init)
    if plain not in INITS or config.init == "pissa_niter_N":
        raise ValueError(f"lora_par: init {config.init!r}: expected one of {', '.join(INITS)}, N a number")
    if config.dora and is_centred(config):
        raise ValueError(
            "lora_par: DoRA takes its magnitudes from one adapter; leave out dora, centred, pissa or olora"
        )
    if config.init == "orthogonal" and config.rank % 2:
        raise ValueError(f"lora_par: orthogonal takes an even rank, not {config.rank}")


def _give_back(own: list[tuple[torch.nn.Parameter, torch.Tensor, torch.Tensor]]) -> None:
    """Weights as they were, in the memory where they lay: others may hold references to it."""
    for weight, data, values in own:
        data.copy_(values)
        weight.data = data


@torch.no_grad()
def _draw(adapted: Any, seed: int) -> None:
    """Both factors from N(0, 0.01), as the released code."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * _STD)


@torch.no_grad()
def _centre(adapted: Any, settings: Any) -> None:
    """A frozen adapter beside the trained one that takes its start away."""
    plain = copy.copy(settings)
    plain.init_lora_weights = True
    adapted.peft_config["default"].init_lora_weights = True
    adapted.add_adapter(ORIGIN, plain)
    found = dict(adapted.named_parameters())
    for name, parameter in found.items():
        if f".{ORIGIN}." in name:
            parameter.copy_(found[name.replace(f".{ORIGIN}.", ".default.")])
            if "lora_B" in name:
                parameter.neg_()
    adapted.base_model.set_adapter(["default", ORIGIN])
    # PEFT lets every active adapter learn again whenever one was switched off for a while: these are no parameters.
    for module in adapted.modules():
        for factor in ("lora_A", "lora_B"):
            layers = getattr(module, factor, None)
            if isinstance(layers, nn.ModuleDict) and ORIGIN in layers:
                held: nn.Module = layers[ORIGIN]
                values = held.get_parameter("weight").detach()
                del held._parameters["weight"]
                held.register_buffer("weight", values)
