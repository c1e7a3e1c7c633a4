"""LoRA-PAR: the elements of a LoRA that matter to System 1 are fine-tuned on it, those of System 2 reinforced on it.

Huang, Li, Tang & Chen, "LoRA-PAR" (EMNLP 2025, arXiv 2507.20999): a vote divides the training items, importance divides
the adapter, SFT and GRPO train a region each. Its baselines are the same with one field changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.anatomy import Selector
from harness.config.par import LoraParVariant, SplitConfig
from harness.files import write_text
from harness.lora_par.roles import SYSTEMS, System
from harness.models import Base
from harness.patch import Patch
from harness.training import trl_version
from harness.training.grpo import check_settings
from harness.variants.adapter import changes_of
from harness.variants.answering import trained_parameters
from harness.variants.context import Context, provenance
from harness.variants.items import Item, held_back, items_of
from harness.variants.measuring import measured_plan
from harness.variants.stages import Done, best_rate, put, reinforce, score, tune
from harness.variants.start import keep_adapter, started
from harness.variants.teaching import figures_of, split
from harness.variants.tuned import MEASURED, known_by, patch_of, versions

CHOICES = {
    "adapter": ("lora", "full"),
    "mask": ("importance", "random", "none"),
    "reward": ("task", "paper"),
    "sft_on": (*SYSTEMS, "all"),
    "rl_on": (*SYSTEMS, "all"),
}
STAGES = ("sft", "rl")


def build(base: Base, config: LoraParVariant, context: Context) -> Patch:
    """Trains both stages, or takes what was trained before.

    Raises:
        ValueError: for settings that cannot work, data that are missing, or teachers that cannot be asked.
    """
    check(config)
    items = items_of(config, context)
    systems: Mapping[str, System] = {}
    divided: dict[str, Any] = {}
    division: Path | None = None
    if needs_split(config):  # of all items: other seeds hold others back, and nobody is to vote again
        systems, division = split(items, config.split, config.seed, context)
        divided = {key: value for key, value in figures_of(division).items() if isinstance(value, (int, float))}
    learned, apart = held_back(items, config.held_back if tries(config) else 0, config.seed)
    data = Data(learned, apart, systems, divided)
    key = {
        **known_by(base),
        "config": asdict(_settled(config)),
        "split": division.name if division else None,
        "items": [(i.name, i.prompt, i.target, i.digest, systems.get(i.name)) for i in learned],
        "held_back": [(i.name, i.prompt, i.digest) for i in apart],
        "trl": trl_version(),
    }
    if config.adapter == "full":
        return context.once(config.method, key, lambda: _full(base, config, data))
    folder = context.folder_once(config.method, key, lambda made: _lora(base, config, data, made))
    return patch_of(base, config, folder, config.method)


def _settled(config: LoraParVariant) -> LoraParVariant:
    """The config without what changes nothing: how the division was made is in its name, and one seed is for all."""
    own = {"sft": replace(config.sft, seed=config.seed), "rl": replace(config.rl, seed=config.seed)}
    return replace(config, split=SplitConfig(), **own)  # type: ignore[arg-type]


def check(config: LoraParVariant) -> None:
    """Raises a ValueError for settings that cannot work."""
    if not 0 < config.theta <= 1 or config.samples < 1:
        raise ValueError(
            f"lora_par: theta {config.theta}: a share above 0 and up to 1; samples {config.samples}: at least 1"
        )
    for name in ("sft_shared", "rl_shared"):
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"lora_par: {name} {getattr(config, name)}: a share from 0 to 1")
    if "rl" in config.stages:
        check_settings(config.rl)
    for name, known in CHOICES.items():
        if getattr(config, name) not in known:
            raise ValueError(f"lora_par: {name} {getattr(config, name)!r}: expected {', '.join(known)}")
    if not config.stages or set(config.stages) - set(STAGES) or len(set(config.stages)) < len(config.stages):
        raise ValueError(f"lora_par: stages {config.stages}: expected sft, rl or both, each once")
    if config.adapter == "full" and (config.stages != ["sft"] or config.mask != "none"):
        raise ValueError("lora_par: adapter=full trains whole weights: stages=[sft] and mask=none go with it")
    for stage, rates in (("sft", config.rates), ("rl", config.rl_rates)):
        if rates and stage in config.stages and config.held_back < 1:
            raise ValueError(
                f"lora_par: rates of {stage} are compared on held-back items: held_back {config.held_back}"
            )
        if any(rate <= 0 for rate in rates):
            raise ValueError(f"lora_par: rates of {stage}, {list(rates)}: numbers above 0")


def tries(config: LoraParVariant) -> bool:
    """Whether learning rates are compared, in a stage that there is."""
    return bool(("sft" in config.stages and config.rates) or ("rl" in config.stages and config.rl_rates))


def needs_split(config: LoraParVariant) -> bool:
    """Whether anything depends on what system an item needs."""
    data = [config.sft_on] * ("sft" in config.stages) + [config.rl_on] * ("rl" in config.stages)
    return config.mask != "none" or any(which != "all" for which in data)


@dataclass(frozen=True)
class Data:
    """What is learned from.

    Attributes:
        items: items to learn from.
        apart: items held back to choose a learning rate.
        systems: name of an item -> its system; dropped items are missing.
        divided: figures of the division.
    """

    items: Sequence[Item]
    apart: Sequence[Item]
    systems: Mapping[str, System]
    divided: Mapping[str, Any] = field(default_factory=dict)

    def of(self, which: str) -> list[Item]:
        """Items of one system, or all.

        Raises:
            ValueError: if there are none.
        """
        found = [i for i in self.items if which == "all" or self.systems.get(i.name) == which]
        if not found:
            raise ValueError(f"lora_par: no training item is of {which}; the division has {dict(self.divided)}")
        return found


def _lora(base: Base, config: LoraParVariant, data: Data, folder: Path) -> None:
    """Trains the adapter through its stages, and writes it with what was measured."""
    with started(base, config) as adapted:
        parameters = trained_parameters(base.model)
        plan = measured_plan(base, parameters, config, data.of)
        figures: dict[str, Any] = {f"split_{key}": value for key, value in data.divided.items()}
        for stage in config.stages:
            names, masks = plan.of(stage, parameters)
            items = data.of(config.sft_on if stage == "sft" else config.rl_on)
            if stage == "sft":
                rates, own = config.rates, config.sft.learning_rate
                train: Callable[[float], Done] = partial(tune, base, names, masks, items, config)
            else:
                rates, own = config.rl_rates, config.rl.learning_rate
                train = partial(reinforce, base, adapted, names, masks, items, config)
            done = best_rate(rates, own, parameters, train, lambda: score(base, data.apart, config))
            told = {**done.figures, "items": len(items), "active": plan.active(stage, parameters)}
            figures |= {f"{stage}_{key}": value for key, value in told.items()}
        keep_adapter(adapted, folder)
        plan.save(base, folder)
        size = sum(p.numel() for p in parameters.values())
        measured = {"parameters": size, "seed": config.seed, **plan.figures(), **figures}
        write_text(folder / MEASURED, json.dumps(measured) + "\n")


def _full(base: Base, config: LoraParVariant, data: Data) -> Patch:
    """Full fine-tuning of the same parts, as a patch."""
    sites = Selector(list(config.parts), config.layers, bias=False).resolve(base.anatomy)
    own = {name: base.model.get_parameter(name) for name in sorted({site.name for site in sites})}
    items = data.of(config.sft_on)
    start = {name: p.detach().clone() for name, p in own.items()}
    train = partial(tune, base, list(own), None, items, config)
    try:
        rate = config.sft.learning_rate
        done = best_rate(config.rates, rate, own, train, lambda: score(base, data.apart, config))
    finally:
        put(own, start)
    size = sum(p.numel() for p in own.values())
    measured = {f"sft_{key}": value for key, value in {**done.figures, "items": len(items), "active": size}.items()}
    made = provenance(base, config, changes_of(base, list(own), config.method), seeds={"train": config.seed})
    used = {**made.versions, **versions(), "trl": trl_version()}
    return Patch(done.tensors, provenance=replace(made, trained=size, measured=measured, versions=used))
