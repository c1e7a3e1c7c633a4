"""A mixture of experts' z for each task, found on a few of its documents (Transformer-Squared, section 3.2, C)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from harness.config.tuning import FewShotVariant
from harness.files import write_text
from harness.models import Base
from harness.patch import Examples, Patch, Query, Routing, Stage
from harness.svf.search import Iterate, SearchSettings, Value, search
from harness.variants import tuned
from harness.variants.adapter import digest_of, merged, read_json
from harness.variants.context import Context
from harness.variants.experts import read_z
from harness.variants.injected import injected

logger = logging.getLogger(__name__)
PER = ("task", "layer", "weight")
ROUTE = "mixture"
SEARCH = "search.json"


@dataclass(frozen=True)
class FewShotRouter:
    """One mixture for all documents of a task; see `harness.patch.Router`.

    Attributes:
        base: the base.
        config: the variant.
        context: where searches are kept.
        experts: name -> folder of its adapter; the base is no entry.
    """

    base: Base
    config: FewShotVariant
    context: Context
    experts: dict[str, Path]
    _drawn: dict[str, Examples] = field(default_factory=dict, compare=False, repr=False)

    @property
    def names(self) -> list[str]:
        """What is mixed."""
        return [*self.experts, *(["base"] if self.config.base else [])]

    @property
    def identity(self) -> dict[str, Any]:
        """Experts, by their adapters, and how they are mixed."""
        settings = {key: value for key, value in asdict(self.config).items() if key != "experts"}
        return {"config": settings, "experts": {n: digest_of(f) for n, f in self.experts.items()}}

    @property
    def summary(self) -> str:
        """What is mixed, and on what."""
        c = self.config
        what = f"{c.shots} documents for testing" if c.leaky else f"{c.shots} of its training documents"
        return f"mixed for each task on {what}: {', '.join(self.names)} ({c.iterations} iterations of {c.population})"

    def identity_on(self, stage: Stage) -> dict[str, Any]:
        """The documents that a mixture is chosen on."""
        examples = self._examples(stage)
        return {"documents": examples.digest, "count": len(examples)}

    def route(self, queries: Sequence[Query], stage: Stage) -> Routing:
        """Searches, or takes what was found before."""
        examples = self._examples(stage)
        key = {
            **tuned.known_by(self.base),
            "documents": examples.digest,
            "settings": dict(stage.settings),
            **self.identity,
        }
        folder = self.context.folder_once("few_shot", key, partial(self._search, stage, examples))
        found = read_json(folder, SEARCH)
        patch = Patch(merged(self.base, folder))
        return Routing([ROUTE] * len(queries), {ROUTE: patch}, found.pop("seconds"), found)

    def _examples(self, stage: Stage) -> Examples:
        """Shots first, then what is held back.

        Raises:
            ValueError: if the task has too few of them.
        """
        config = self.config
        if stage.task not in self._drawn:
            other = None if config.leaky else config.shots_from.get(stage.task.partition("(")[0])
            count = None if config.leaky else config.shots + config.held_back
            try:
                drawn = stage.examples(count, config.seed, other, config.leaky)
            except ValueError as error:
                raise ValueError(
                    f"{error}: no shots to choose a mixture on; name a task with training documents in "
                    f"variant.shots_from={{{stage.task}: NAME}}"
                ) from error
            least = config.shots + (1 if config.leaky else config.held_back)
            if len(drawn) < least:
                raise ValueError(
                    f"few_shot: {stage.task} has {len(drawn)} documents to draw from; variant.shots={config.shots} and "
                    f"variant.held_back={config.held_back} need {least}"
                )
            self._drawn[stage.task] = drawn
        return self._drawn[stage.task]

    def _search(self, stage: Stage, examples: Examples, folder: Path) -> None:
        """Searches with all experts in the model at once, and keeps the mixture as an adapter."""
        from harness.svf import SvfConfig

        config, started = self.config, time.monotonic()
        modules = sorted({m for path in self.experts.values() for m in read_z(self.base, path)[1]})
        with injected(self.base, SvfConfig(target_modules=modules)) as adapted:
            z = _read(adapted, self.experts)
            groups = _groups(modules, config.per)
            shots, held = examples.part(0, config.shots), examples.part(config.shots, len(examples))
            lm = stage.open()

            def value_on(documents: Examples, weights_GK: Tensor) -> Value:
                adapted.base_model.set_z("default", mixture(z, self.names, groups, weights_GK))
                scored = documents.scored(lm)
                return Value(_mean([s.score for s in scored]), _mean([s.likelihood for s in scored]))

            with tqdm(total=config.iterations, unit="iteration", desc="mixing", leave=False, disable=None) as bar:

                def shown(number: int, iterate: Iterate) -> None:
                    bar.update()
                    bar.set_postfix_str(f"shots {iterate.best.score:.3f}, held back {iterate.held_back.score:.3f}")

                chosen, all_of_them = search(
                    max(groups.values()) + 1,
                    len(self.names),
                    partial(value_on, shots),
                    partial(value_on, held),
                    settings_of(config),
                    shown,
                )
            adapted.base_model.set_z("default", mixture(z, self.names, groups, chosen.weights_GK))
            adapted.save_pretrained(folder)
        logger.info("%s: held back %.3f, %s", stage.task, chosen.held_back.score, chosen.weights_GK.mean(0).tolist())
        mean_K = chosen.weights_GK.mean(0).tolist()
        found = {
            "seconds": round(time.monotonic() - started, 3),
            "alpha": {name: round(weight, 4) for name, weight in zip(self.names, mean_K, strict=True)},
            "alphas": chosen.weights_GK.tolist(),
            "iteration": next(i for i, iterate in enumerate(all_of_them) if iterate is chosen),
            "shots": len(shots),
            "held_back": len(held),
            "scores": [[i.best.score, i.held_back.score] for i in all_of_them],
            "leaky": config.leaky,
        }
        write_text(folder / SEARCH, json.dumps(found) + "\n")


def settings_of(config: FewShotVariant) -> SearchSettings:
    """How to search.

    Raises:
        ValueError: for settings that cannot work.
    """
    return SearchSettings(config.population, config.elite, config.iterations, config.std, config.seed)


def mixture(
    z: dict[str, dict[str, Tensor]], names: list[str], groups: dict[str, int], weights_GK: Tensor
) -> dict[str, Tensor]:
    """The z of each module: sum_k alpha_k z_k; 1 where an expert does not adapt it, and for the base."""
    out = {}
    for module, group in groups.items():
        known = next(per[module] for per in z.values() if module in per)
        parts = [
            float(weight) * z.get(name, {}).get(module, torch.ones_like(known))
            for name, weight in zip(names, weights_GK[group], strict=True)
        ]
        out[module] = torch.stack(parts).sum(0)
    return out


def _groups(modules: list[str], per: str) -> dict[str, int]:
    """Module -> number of the group that is mixed alike."""
    if per == "task":
        return dict.fromkeys(modules, 0)
    keys = {m: next((p for p in m.split(".") if p.isdecimal()), m) if per == "layer" else m for m in modules}
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys.values()))}
    return {m: numbers[key] for m, key in keys.items()}


def _read(adapted: Any, experts: dict[str, Path]) -> dict[str, dict[str, Tensor]]:
    """Z of each expert by module; they are loaded beside the mixture, and taken out again."""
    out = {}
    for name, folder in experts.items():
        # A name of its own: PEFT takes no dots, and a label may hold any.
        adapted.load_adapter(str(folder), adapter_name="expert")
        out[name] = adapted.base_model.z("expert")
        adapted.delete_adapter("expert")
    adapted.set_adapter("default")
    return out


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def parameters_of(folder: Path) -> int:
    """Parameters that were trained for an expert; 0 where its folder does not say."""
    return int(tuned.measured_of(folder)["parameters"]) if (folder / tuned.MEASURED).is_file() else 0
