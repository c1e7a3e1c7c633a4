"""Singular values scaled by vectors that reinforcement trains on a task.

Sun, Cetin & Tang, "Transformer-Squared" (ICLR 2025), sections 3.1 and 3.2. What is kept is the adapter, one number for
each singular value; the patch is made of it.
"""

from __future__ import annotations

import copy
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from lm_eval.models.utils import postprocess_generated_text

from harness.anatomy import Selector
from harness.config.variants import RLConfig, SvfVariant
from harness.engine import EngineSettings, Sampling, TextRequest, TreeLM, open_engine
from harness.files import write_text
from harness.models import Base, tokenizer_digest
from harness.patch import Patch
from harness.training.reinforce import Question, Reinforced, reinforce
from harness.variants.adapter import changes_of, merged
from harness.variants.context import Context, GradedQuestion, provenance

logger = logging.getLogger(__name__)


def build(base: Base, config: SvfVariant, context: Context) -> Patch:
    """Trains z, or takes it from the folder of patches if the same training was done before.

    Raises:
        ValueError: for a selector without match, a task without training documents, or settings that cannot work.
    """
    folder = trained(base, config, context)
    tensors = merged(base, folder)
    measured = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    if not tensors:
        logger.warning("svf: no step was better than the start, so the variant is the base")
    source = provenance(base, config, changes_of(base, tensors, "svf"), seeds={"train": config.train.seed})
    versions = {**source.versions, "peft": version("peft")}
    return Patch(
        tensors,
        provenance=replace(source, trained=measured.pop("z"), measured=measured, versions=versions),
    )


def trained(base: Base, config: SvfVariant, context: Context) -> Path:
    """The folder of the trained adapter: PEFT's files, and what was measured."""
    if config.task is None or context.questions is None:
        raise ValueError(
            "svf: no task to train on; e.g. variant.task=gsm8k (for a trained adapter: the variant adapter)"
        )
    modules = [
        s.name.removesuffix(".weight") for s in Selector(config.parts, config.layers, False).resolve(base.anatomy)
    ]
    questions = list(context.questions(config.task, config.task_settings, config.questions))
    key = {
        "base": base.fingerprint,
        "tokenizer": tokenizer_digest(base.tokenizer),
        "dtype": str(base.model.dtype),
        "config": asdict(config),
        "questions": [q.prompt for q in questions],
        "versions": [version("torch"), version("transformers"), version("peft")],
    }
    return context.folder_once("svf", key, partial(_train, base, config, list(dict.fromkeys(modules)), questions))


def _train(
    base: Base, config: SvfVariant, modules: list[str], questions: Sequence[GradedQuestion], folder: Path
) -> None:
    """Trains z and writes the adapter."""
    from peft import get_peft_model

    from harness.svf import SvfConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        settings = SvfConfig(target_modules=modules, form=config.form, init=config.init, init_std=config.init_std)
        adapted = get_peft_model(copy.deepcopy(base.model), settings)
    inner = adapted.base_model.model.eval()
    lm = open_engine(inner, base.tokenizer, "tree", EngineSettings(seed=config.train.seed))
    if not isinstance(lm, TreeLM):
        raise ValueError(f"svf: the engine cannot generate with {base.name}, so there is nothing to reinforce")
    asked = {q.name: q for q in questions}
    items = [_question(lm, q) for q in questions]
    rng = random.Random(config.train.seed)
    rng.shuffle(items)
    held_back, learned = items[: config.held_back], items[config.held_back :]
    parameters = {n: p for n, p in inner.named_parameters() if "svf_z" in n}
    answer = partial(_answer, lm, asked, config.train)
    done = reinforce(inner, answer, learned, held_back, parameters, adapted.disable_adapter, config.train)
    adapted.save_pretrained(folder)
    write_text(folder / "training.json", json.dumps(_measured(done, parameters)) + "\n")


def _measured(done: Reinforced, parameters: dict[str, torch.nn.Parameter]) -> dict[str, float]:
    return {
        "z": sum(p.numel() for p in parameters.values()),
        "steps": done.steps,
        "best_step": done.best_step,
        "first_score": done.first_score,
        "best_score": done.best_score,
        "last_reward": done.rewards[-1],
        "last_penalty": done.penalties[-1],
    }


def _question(lm: TreeLM, asked: GradedQuestion) -> Question:
    stops = _stops(asked)

    def grade(tokens: Sequence[int]) -> float:
        return asked.grade(postprocess_generated_text(lm.tok_decode(list(tokens)), stops, None))

    return Question(tuple(lm.tok_encode(asked.prompt)), asked.name, grade)


def _stops(asked: GradedQuestion) -> list[str]:
    return [stop for stop in asked.settings.get("until", []) if stop]


def _answer(
    lm: TreeLM,
    asked: dict[str, GradedQuestion],
    config: RLConfig,
    questions: Sequence[Question],
    temperature: float,
    seed: int,
) -> list[list[int]]:
    """Answers of the model as it is now; drawn ones depend on the question and the seed alone."""
    texts = [
        TextRequest(
            np.array(q.prompt, dtype=np.int32),
            config.max_tokens,
            False,
            tuple(_stops(asked[q.name])),
            f"{q.name}|{seed}",
        )
        for q in questions
    ]
    sampling = Sampling(do_sample=True, temperature=temperature) if temperature else Sampling()
    return lm.generate(texts, sampling, quiet=True)
