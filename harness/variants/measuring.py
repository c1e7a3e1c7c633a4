"""Which elements each stage of LoRA-PAR trains, from the importance that was measured."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from harness.config.par import LoraParVariant
from harness.files import write_text
from harness.lora_par.figure import REGIONS, write_figure
from harness.lora_par.importance import Example, importance
from harness.lora_par.regions import Masks, Regions, at_random, count
from harness.lora_par.roles import SYSTEMS
from harness.models import Base
from harness.variants.items import Item

logger = logging.getLogger(__name__)
_OF = {"sft": SYSTEMS[0], "rl": SYSTEMS[1]}


@dataclass(frozen=True)
class Plan:
    """What each stage trains.

    Attributes:
        regions: what was measured; None where nothing is masked.
        masks: stage -> name -> its elements.
    """

    regions: Regions | None
    masks: Mapping[str, Masks]

    def of(self, stage: str, parameters: Mapping[str, nn.Parameter]) -> tuple[list[str], Masks | None]:
        """The parameters that a stage trains, and which of their elements; None for all."""
        if stage not in self.masks:
            return list(parameters), None
        masks = {name: mask for name, mask in self.masks[stage].items() if bool(mask.any())}
        return list(masks), masks

    def active(self, stage: str, parameters: Mapping[str, nn.Parameter]) -> int:
        """Elements that a stage trains."""
        return count(self.masks[stage]) if stage in self.masks else sum(p.numel() for p in parameters.values())

    def figures(self) -> dict[str, float]:
        """Statistics of the regions."""
        return {} if self.regions is None else {f"region_{k}": v for k, v in self.regions.figures().items()}

    def save(self, base: Base, folder: Path) -> None:
        """Writes what was measured, a line for each weight that is adapted."""
        if self.regions is None:
            return
        rows: dict[str, dict[str, float | int | str | None]] = {}
        sites = {site.name.removesuffix(".weight"): site for site in base.anatomy.sites}
        shared = self.regions.shared
        for name, scores in self.regions.scores1.items():
            module = name.partition(".lora_")[0]
            row = rows.setdefault(
                module,
                {"part": sites[module].part, "layer": sites[module].layer, "elements": 0, "system1": 0, "system2": 0,
                 "shared": 0, "importance1": 0.0, "importance2": 0.0},
            )  # fmt: skip
            found = {
                "elements": scores.numel(),
                "system1": int(self.regions.system1[name].sum()),
                "system2": int(self.regions.system2[name].sum()),
                "shared": int(shared[name].sum()),
                "importance1": float(scores.double().sum()),
                "importance2": float(self.regions.scores2[name].double().sum()),
            }
            for key, value in found.items():
                row[key] += value  # type: ignore[operator]
        write_text(folder / REGIONS, json.dumps(rows, indent=1) + "\n")
        try:
            write_figure(folder)
        except ValueError as error:  # it is for people, and can be drawn later
            logger.info("%s", error)


def measured_plan(
    base: Base,
    parameters: Mapping[str, nn.Parameter],
    config: LoraParVariant,
    items: Callable[[str], Sequence[Item]],
) -> Plan:
    """Measures importance where a mask asks for it.

    Args:
        base: the base with the adapter in it, at its start.
        parameters: what is trained, by name in the model.
        config: how.
        items: system -> its items.

    Raises:
        ValueError: for settings that cannot work, or a start under which nothing has importance.
    """
    if config.mask == "none":
        return Plan(None, {})
    scores: dict[str, dict[str, Tensor]] = {}
    for system in SYSTEMS:
        found = items(system)
        chosen = random.Random(f"{config.seed}|{system}").sample(list(found), len(found))
        fitting = [e for e in (_example(base, item, config) for item in chosen) if e is not None][: config.samples]
        if not fitting:
            raise ValueError(
                f"lora_par: no item of {system} has an answer within sft.max_length {config.sft.max_length}"
            )
        scores[system] = importance(base.model, parameters, fitting)
    regions = Regions.of(scores[SYSTEMS[0]], scores[SYSTEMS[1]], config.theta)
    shares = {"sft": config.sft_shared, "rl": config.rl_shared}
    masks = {stage: regions.active(_OF[stage], shares[stage]) for stage in config.stages}
    if config.mask == "random":
        masks = {
            stage: at_random(mask, count(mask), 1000 * config.seed + number)
            for number, (stage, mask) in enumerate(masks.items())
        }
    return Plan(regions, masks)


def _example(base: Base, item: Item, config: LoraParVariant) -> Example | None:
    """An item as SFT learns it: prompt, answer and the end of the text, cut where SFT cuts it.

    None where that leaves nothing to learn: SFT leaves such an item out too, and counts it.
    """
    prompt = base.tokenizer(item.prompt)["input_ids"]
    whole = [*base.tokenizer(item.prompt + item.target)["input_ids"], base.tokenizer.eos_token_id]
    example = Example(tuple(whole[: config.sft.max_length]), len(prompt))
    return example if 0 < example.learned_from < len(example.tokens) else None
