"""Adapters trained on a task: SVF, LoRA and IA3, reinforced or by next-token prediction.

Sun, Cetin & Tang, "Transformer-Squared" (ICLR 2025), sections 3.1 and 3.2 and table 4. What is kept is the adapter; the
patch is made of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.config.tuning import TunedVariant
from harness.files import write_text
from harness.models import Base, tokenizer_digest
from harness.patch import Patch
from harness.training import Text, digest_of, fine_tune, read_texts, trl_version
from harness.training.reinforce import Reinforced
from harness.variants.adapter import changes_of, merged, read_json
from harness.variants.answering import reinforced, trained_parameters
from harness.variants.context import Context, GradedQuestion, provenance
from harness.variants.injected import injected, tuner

logger = logging.getLogger(__name__)
OBJECTIVES = ("reinforce", "next_token")
MEASURED = "training.json"


def build(base: Base, config: TunedVariant, context: Context) -> Patch:
    """Trains the adapter, or takes it from the folder of patches if the same training was done before.

    Raises:
        ValueError: for a selector without match, a task without training documents, or settings that cannot work.
    """
    return patch_of(base, config, trained(base, config, context), config.method)


def patch_of(base: Base, config: Any, folder: Path, source: str) -> Patch:
    """The patch that a trained adapter makes; empty where its training found nothing better than the base."""
    tensors = merged(base, folder)
    measured = measured_of(folder)
    if not tensors:
        logger.warning("%s: no step was better than the start, so the variant is the base", source)
    made = provenance(base, config, changes_of(base, list(tensors), source), seeds={"train": measured.pop("seed")})
    used = {**made.versions, **versions()}
    return Patch(
        tensors, provenance=replace(made, trained=measured.pop("parameters"), measured=measured, versions=used)
    )


def measured_of(folder: Path) -> dict[str, Any]:
    """What a training measured.

    Raises:
        ValueError: if the file is missing or damaged.
    """
    measured = read_json(folder, MEASURED)
    if missing := [key for key in ("parameters", "seed") if not isinstance(measured.get(key), int)]:
        raise ValueError(f"{folder / MEASURED} has no {missing[0]}. Delete {folder} to make it again.")
    return measured


def versions() -> dict[str, str]:
    """Versions of what trains and merges."""
    return {name: version(name) for name in ("torch", "transformers", "peft")}


def trained(base: Base, config: TunedVariant, context: Context) -> Path:
    """The folder of the trained adapter: PEFT's files, and what was measured."""
    if config.objective not in OBJECTIVES:
        raise ValueError(f"objective {config.objective!r}: expected {' or '.join(OBJECTIVES)}")
    settings = tuner(base, config)
    if config.objective == "next_token":
        texts = _texts(config, context)
        own: dict[str, Any] = {"texts": digest_of(texts), "trl": trl_version()}
        make = partial(_learn, base, settings, texts, config)
    else:
        questions = list(_questions(config, context))
        own = {"questions": [(q.prompt, q.digest) for q in questions]}
        make = partial(_reinforce, base, settings, questions, config)
    return context.folder_once(config.method, {**known_by(base), "config": asdict(config), **own}, make)


def known_by(base: Base) -> dict[str, Any]:
    """What everything that is trained on a base depends on."""
    return {
        "base": base.fingerprint,
        "tokenizer": tokenizer_digest(base.tokenizer),
        "dtype": str(base.model.dtype),
        "versions": versions(),
    }


def _questions(config: TunedVariant, context: Context) -> Sequence[GradedQuestion]:
    if config.task is None or context.questions is None:
        raise ValueError(
            f"{config.method}: no task to train on; e.g. variant.task=gsm8k "
            "(for a trained adapter: the variant adapter)"
        )
    return context.questions(config.task, config.task_settings, config.questions)


def _texts(config: TunedVariant, context: Context) -> list[Text]:
    """What next-token prediction learns: texts of a data set, or the task's answers."""
    if config.texts is not None:
        return read_texts(config.texts, context.data)
    questions = _questions(config, context)
    if any(q.images for q in questions):
        raise ValueError(
            f"{config.method}: {config.task} asks about images, which next-token prediction does not read here; "
            "use variant.objective=reinforce"
        )
    return [Text(q.prompt, q.target) for q in questions]


def _reinforce(
    base: Base, settings: Any, questions: Sequence[GradedQuestion], config: TunedVariant, folder: Path
) -> None:
    with injected(base, settings, config.train.seed) as adapted:
        parameters = trained_parameters(base.model)
        done = reinforced(base, adapted, questions, config.held_back, config.train)
        count = sum(p.numel() for p in parameters.values())
        keep(adapted, folder, {"parameters": count, "seed": config.train.seed, **figures(done)})


def _learn(base: Base, settings: Any, texts: Sequence[Text], config: TunedVariant, folder: Path) -> None:
    with injected(base, settings, config.sft.seed) as adapted:
        parameters = trained_parameters(base.model)
        done = fine_tune(base.model, base.tokenizer, texts, list(parameters), config.sft)
        for name, parameter in parameters.items():
            parameter.data.copy_(done.tensors[name])
        count = sum(p.numel() for p in parameters.values())
        keep(adapted, folder, {"parameters": count, "seed": config.sft.seed, **done.measured()})


def keep(adapted: Any, folder: Path, measured: Mapping[str, float]) -> None:
    """Writes an adapter and what its training measured."""
    adapted.save_pretrained(folder)
    write_text(folder / MEASURED, json.dumps(measured) + "\n")


def figures(done: Reinforced) -> dict[str, float]:
    """What a reinforcement measured, for a patch's provenance."""
    return {
        "steps": done.steps,
        "best_step": done.best_step,
        "first_score": done.first_score,
        "best_score": done.best_score,
        "last_reward": done.rewards[-1],
        "last_penalty": done.penalties[-1],
        "seconds": done.seconds,
    }
