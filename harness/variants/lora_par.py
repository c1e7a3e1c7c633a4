"""LoRA-PAR: the elements of a LoRA that matter to System 1 are fine-tuned on it, those of System 2 reinforced on it.

Huang, Li, Tang & Chen, "LoRA-PAR" (EMNLP 2025, arXiv 2507.20999): a vote divides the training items, importance divides
the adapter, SFT and GRPO train a region each. Its baselines are the same with one field changed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.anatomy import Selector
from harness.config.par import LoraParVariant
from harness.config.training import SFTConfig
from harness.files import write_text
from harness.lora_par.rewards import paper_reward
from harness.lora_par.roles import SYSTEMS, System
from harness.models import Base
from harness.patch import Patch
from harness.training import Text, fine_tune, trl_version
from harness.training.grpo import Prompt, optimise
from harness.variants.adapter import changes_of
from harness.variants.answering import asking, postprocessed, trained_parameters
from harness.variants.context import Context, provenance
from harness.variants.items import Item, held_back, items_of
from harness.variants.measuring import measured_plan
from harness.variants.start import keep_adapter, started
from harness.variants.teaching import figures_of, split
from harness.variants.tuned import MEASURED, known_by, patch_of, versions

logger = logging.getLogger(__name__)
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
    learned, apart = held_back(items, config.held_back if config.rates else 0, config.seed)
    systems: Mapping[str, System] = {}
    divided: dict[str, Any] = {}
    if needs_split(config):
        systems, folder = split(learned, config.split, config.seed, context)
        divided = {key: value for key, value in figures_of(folder).items() if isinstance(value, (int, float))}
    data = Data(learned, apart, systems, divided)
    key = {
        **known_by(base),
        "config": {**asdict(config), "split": None},  # the systems say what it did
        "items": [(i.name, i.prompt, i.target, i.digest, systems.get(i.name)) for i in learned],
        "held_back": [(i.name, i.prompt, i.digest) for i in apart],
        "trl": trl_version(),
    }
    if config.adapter == "full":
        return context.once(config.method, key, lambda: _full(base, config, data))
    folder = context.folder_once(config.method, key, lambda made: _lora(base, config, data, made))
    return patch_of(base, config, folder, config.method)


def check(config: LoraParVariant) -> None:
    """Raises a ValueError for settings that cannot work."""
    for name, known in CHOICES.items():
        if getattr(config, name) not in known:
            raise ValueError(f"lora_par: {name} {getattr(config, name)!r}: expected {', '.join(known)}")
    if not config.stages or set(config.stages) - set(STAGES) or len(set(config.stages)) < len(config.stages):
        raise ValueError(f"lora_par: stages {config.stages}: expected sft, rl or both, each once")
    if config.adapter == "full" and (config.stages != ["sft"] or config.mask != "none"):
        raise ValueError("lora_par: adapter=full trains whole weights: stages=[sft] and mask=none go with it")
    if config.rates and ("sft" not in config.stages or config.held_back < 1):
        raise ValueError("lora_par: rates are tried in SFT and compared on held-back items: stages needs sft, "
                         f"held_back at least 1 (it is {config.held_back})")  # fmt: skip
    if any(rate <= 0 for rate in config.rates):
        raise ValueError(f"lora_par: rates {config.rates}: numbers above 0")


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
            run = _tune if stage == "sft" else _reinforce
            done = run(base, adapted, parameters, names, masks, config, data)
            figures |= {f"{stage}_{key}": value for key, value in done.items()}
            figures[f"{stage}_active"] = plan.active(stage, parameters)
        keep_adapter(adapted, folder)
        plan.save(base, folder)
        total = sum(p.numel() for p in parameters.values())
        write_text(
            folder / MEASURED,
            json.dumps({"parameters": total, "seed": config.seed, **plan.figures(), **figures}) + "\n",
        )


def _tune(
    base: Base,
    adapted: Any,
    parameters: Mapping[str, nn.Parameter],
    names: Sequence[str],
    masks: Mapping[str, Tensor] | None,
    config: LoraParVariant,
    data: Data,
) -> dict[str, Any]:
    """Stage of SFT; of several learning rates the one whose model answers most held-back items stays."""
    texts = [Text(i.prompt, i.target) for i in data.of(config.sft_on)]
    start = {name: p.detach().clone() for name, p in parameters.items()}
    tried: dict[float, float] = {}
    best: tuple[float, dict[str, Tensor], dict[str, Any]] | None = None
    for rate in config.rates or [config.sft.learning_rate]:
        put(parameters, start)
        settings = replace(config.sft, learning_rate=rate, seed=config.seed)
        done = fine_tune(base.model, base.tokenizer, texts, names, settings, masks)
        put(parameters, done.tensors)
        tried[rate] = score(base, data.apart, config) if config.rates else 0.0
        if best is None or tried[rate] > best[0]:
            best = tried[rate], done.tensors, {**done.measured(), "learning_rate": rate}
    assert best is not None
    put(parameters, {**start, **best[1]})
    chosen = {"held_back_score": best[0], "rates": {str(k): v for k, v in tried.items()}} if config.rates else {}
    return {**best[2], **chosen, "items": len(texts)}


def _reinforce(
    base: Base,
    adapted: Any,
    parameters: Mapping[str, nn.Parameter],
    names: Sequence[str],
    masks: Mapping[str, Tensor] | None,
    config: LoraParVariant,
    data: Data,
) -> dict[str, Any]:
    """Stage of GRPO."""
    items = data.of(config.rl_on)
    prompts = [Prompt(item.prompt, _worth(item, config.reward)) for item in items]
    settings = replace(config.rl, seed=config.seed)
    done = optimise(adapted, base.tokenizer, prompts, names, settings, masks)
    put(parameters, done.tensors)
    return {**done.measured(), "items": len(items)}


class _worth:  # noqa: N801 - a function with two fields
    """What an answer to an item is worth."""

    def __init__(self, item: Item, reward: str) -> None:
        self._item, self._reward = item, reward

    def __call__(self, text: str) -> float:
        if self._reward == "paper":
            return paper_reward(text, self._item.target)
        return float(self._item.grade(postprocessed(text, self._item.settings)) > 0)


def score(base: Base, items: Sequence[Item], config: LoraParVariant) -> float:
    """Share of items that the model, as it is now, answers rightly by its likeliest answers."""
    answers, questions = asking(base, items, config.rl.max_tokens, 1, config.seed)
    found = answers(questions, 0.0, 0)
    return sum(q.grade(a) > 0 for q, a in zip(questions, found, strict=True)) / len(questions)


@torch.no_grad()
def put(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Writes values into parameters."""
    for name, value in values.items():
        parameters[name].copy_(value)


def _full(base: Base, config: LoraParVariant, data: Data) -> Patch:
    """Full fine-tuning of the same parts, as a patch."""
    sites = Selector(list(config.parts), config.layers, bias=False).resolve(base.anatomy)
    names = sorted({site.name for site in sites})
    texts = [Text(i.prompt, i.target) for i in data.of(config.sft_on)]
    own = {name: base.model.get_parameter(name) for name in names}
    start = {name: p.detach().clone() for name, p in own.items()}
    tried: dict[str, float] = {}
    best: tuple[float, Any, float] | None = None
    for rate in config.rates or [config.sft.learning_rate]:
        settings: SFTConfig = replace(config.sft, learning_rate=rate, seed=config.seed)
        done = fine_tune(base.model, base.tokenizer, texts, names, settings)
        found = 0.0
        if config.rates:
            try:
                put(own, done.tensors)
                found = score(base, data.apart, config)
            finally:
                put(own, start)
        tried[str(rate)] = found
        if best is None or found > best[0]:
            best = found, done, rate
    assert best is not None
    _, done, rate = best
    chosen = {"sft_held_back_score": best[0], "sft_rates": tried} if config.rates else {}
    measured = {f"sft_{key}": value for key, value in done.measured().items()}
    measured |= {"sft_learning_rate": rate, "sft_items": len(texts), **chosen}
    size = sum(p.numel() for p in own.values())
    made = provenance(base, config, changes_of(base, names, config.method), seeds={"train": config.seed})
    used = {**made.versions, **versions(), "trl": trl_version()}
    return Patch(
        done.tensors,
        provenance=replace(made, trained=size, measured={**measured, "sft_active": size}, versions=used),
    )
