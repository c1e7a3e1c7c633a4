"""Adapters of PEFT put into a base for a while: for training, or to compute with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from harness.anatomy import Selector, Site, parse_parts
from harness.config.tuning import ClassifierVariant, Ia3Variant, LoraVariant, SvfVariant, TunedVariant
from harness.models import Base


@contextmanager
def injected(base: Base, config: Any, seed: int = 0) -> Iterator[Any]:
    """The base's own model with an adapter in it, as PEFT's model; afterwards it is the base again.

    The weights are not copied. The adapter computes at once, and its parameters alone have gradients.

    Args:
        base: the base.
        config: PEFT's config.
        seed: of what the adapter draws at its start.
    """
    from peft import get_peft_model

    model = base.model
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    attributes = set(vars(model))
    # By reference, and not by PEFT's own unloading: it has none for what failed half-way.
    children = [(module, dict(module._modules)) for module in model.modules()]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            adapted = get_peft_model(model, config)
        adapted.eval()
        yield adapted
    finally:
        for module, own in children:
            module._modules.clear()
            module._modules.update(own)
        for name in set(vars(model)) - attributes:
            delattr(model, name)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[name])


def modules_of(base: Base, parts: Sequence[str], layers: Any) -> dict[str, Site]:
    """Module -> one of its sites, for the weights of some parts.

    Raises:
        ValueError: for a selector without match, or a weight that holds other parts too.
    """
    chosen = Selector(list(parts), layers, bias=False).resolve(base.anatomy)
    if odd := sorted({s.part for s in chosen} & {"embed", "head", "norm"}):
        raise ValueError(
            f"parts {', '.join(parts)}: adapters go into projections, and {', '.join(odd)} is none; "
            f"take away {', '.join('-' + part for part in odd)}"
        )
    names = {s.name for s in chosen}
    for site in base.anatomy.sites:
        if site.name in names and site not in chosen:
            raise ValueError(
                f"{site.name} holds {site.part} beside parts that are adapted; a weight is adapted whole: "
                f"choose {site.part} as well"
            )
    return {s.name.removesuffix(".weight"): s for s in chosen}


def tuner(base: Base, config: TunedVariant | ClassifierVariant) -> Any:
    """PEFT's config for a variant.

    Raises:
        ValueError: for a selector without match, or settings that cannot work.
    """
    modules = modules_of(base, config.parts, config.layers)
    names = list(modules)
    if isinstance(config, (SvfVariant, ClassifierVariant)):
        from harness.svf import SvfConfig

        return SvfConfig(target_modules=names, form=config.form, init=config.init, init_std=config.init_std)
    if isinstance(config, LoraVariant):
        from peft import LoraConfig

        if config.rank < 1 or not 0 <= config.dropout < 1:
            raise ValueError(
                f"lora: rank {config.rank}, dropout {config.dropout}: expected 1 or more, and 0 to below 1"
            )
        return LoraConfig(
            target_modules=names,
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            use_dora=config.dora,
        )
    assert isinstance(config, Ia3Variant)
    from peft import IA3Config

    inner = parse_parts(["mlp"])
    fed = [name for name, site in modules.items() if site.part in inner]
    return IA3Config(target_modules=names, feedforward_modules=fed)
