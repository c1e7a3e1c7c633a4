"""Variants that draw at random, once for each seed of a run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

from harness.config.specs import VariantSpec, inner_of

MARK = "~"
_TRAINED = {"lora_par", "svf", "lora", "ia3", "classifier", "few_shot", "freeze", "circuit"}


def replicas(spec: VariantSpec, seeds: Sequence[int] | None) -> list[VariantSpec]:
    """A variant with each seed in turn, called ``NAME~SEED``; one that draws nothing as it is.

    Args:
        spec: the variant.
        seeds: the seeds; None leaves the variant's own.

    Raises:
        ValueError: if there are no seeds, or one stands there twice.
    """
    if seeds is None:
        return [spec]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds {list(seeds)}: give at least one, each once")
    if not any(_draws(inner) for inner in inner_of(spec)):
        return [spec]
    out = []
    for seed in seeds:
        config = copy.deepcopy(spec.config)
        _put(config, seed)
        out.append(VariantSpec(f"{spec.label}{MARK}{seed}", spec.method, config))
    return out


def of_all_seeds(label: str) -> str:
    """The name that the replicas of a variant share."""
    return label.rpartition(MARK)[0] or label


def _draws(spec: VariantSpec) -> bool:
    if spec.method in _TRAINED:
        return True
    if spec.method == "noise":  # other batches draw nothing
        return spec.config.seed is not None
    return getattr(spec.config, "mode", None) == "reinit" or getattr(spec.config, "order", None) == "shuffled"


def _put(config: Any, seed: int) -> None:
    """Writes the seed wherever a config has one, down to what it is made of."""
    if isinstance(config, list | tuple):
        for part in config:
            _put(part, seed)
    elif isinstance(config, dict):
        _put(list(config.values()), seed)
    elif is_dataclass(config) and not isinstance(config, type):
        for name, value in vars(config).items():
            if name == "seed":
                setattr(config, name, seed)
            else:
                _put(value, seed)
