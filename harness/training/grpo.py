"""Group-relative policy optimisation (GRPO) of an adapter, by TRL, with the base as its reference."""

from __future__ import annotations

import copy
import logging
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from harness.config.training import GRPOConfig
from harness.training.masked import only_active
from harness.training.sft import leaving_no_trace, masked_adamw

logger = logging.getLogger(__name__)
LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo")
SCALES = ("group", "batch", "none")


@dataclass(frozen=True)
class Prompt:
    """What is asked, and what an answer is worth.

    Attributes:
        text: the prompt.
        reward: worth of an answer's text.
    """

    text: str
    reward: Callable[[str], float]


@dataclass(frozen=True)
class Optimised:
    """What came of it.

    Attributes:
        tensors: the trained tensors by their name in the model inside the adapter, on the CPU.
        steps: optimiser steps.
        first_reward: mean reward of the first step's answers.
        last_reward: mean over the last tenth of the steps.
        first_distance: mean distance to the base at the first step, in nats a token (TRL's estimate from the drawn
            tokens); 0 where ``beta`` is 0.
        last_distance: mean over the last tenth of the steps.
        silent: share of the groups whose answers were all worth the same, from which nothing is learned.
        seconds: wall-clock time.
    """

    tensors: dict[str, Tensor]
    steps: int
    first_reward: float
    last_reward: float
    first_distance: float
    last_distance: float
    silent: float
    seconds: float

    def measured(self) -> dict[str, float]:
        """The numbers, for a patch's provenance."""
        return {key: value for key, value in vars(self).items() if key != "tensors"}


def optimise(
    adapted: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    names: Sequence[str],
    config: GRPOConfig,
    masks: Mapping[str, Tensor] | None = None,
) -> Optimised:
    """Trains a copy of an adapted model; the model itself is left alone.

    The reference of the distance is the model with all adapters off. TRL takes a copy of the adapter for it (its start
    in this stage), which for PiSSA and OLoRA runs their initialisation again, on top of what was trained.

    Args:
        adapted: PEFT's model.
        tokenizer: its tokenizer.
        prompts: what is asked.
        names: parameters of the model inside the adapter that are trained.
        config: how.
        masks: name -> elements that are trained, as in `fine_tune`.

    Raises:
        ValueError: if the settings cannot work.
        RuntimeError: if an element that is not active changed, or nothing did.
    """
    from trl import GRPOConfig as Arguments
    from trl import GRPOTrainer

    _check(config, prompts, tokenizer)
    started = time.monotonic()
    learner = copy.deepcopy(adapted)
    inner = learner.base_model.model
    for name, parameter in inner.named_parameters():
        parameter.requires_grad_(name in names)
    own = {name: p for name, p in inner.named_parameters() if name in names}
    before = {name: p.detach().clone() for name, p in own.items()}
    worth = {str(number): prompt.reward for number, prompt in enumerate(prompts)}

    def reward(completions: list[str], number: list[str], **rest: Any) -> list[float]:
        return [worth[which](text) for which, text in zip(number, completions, strict=True)]

    rows = [{"prompt": prompt.text, "number": str(number)} for number, prompt in enumerate(prompts)]
    padded = copy.deepcopy(tokenizer)
    padded.pad_token = tokenizer.pad_token or tokenizer.eos_token
    watch = _Watch(_steps(config, len(prompts)))
    optimizer = None if masks is None else masked_adamw(own, masks, config)
    apart = nullcontext() if masks is None else only_active(own, masks)
    with tempfile.TemporaryDirectory() as folder, leaving_no_trace(inner), watch.bar, apart:
        trainer = GRPOTrainer(
            model=learner,
            reward_funcs=reward,
            args=Arguments(**_settings(config, inner, len(prompts), folder)),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=padded,
            callbacks=[watch],
            optimizers=(optimizer, None),
        )
        trainer.beta = config.beta
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    if all(torch.equal(p.detach(), before[name]) for name, p in own.items()):
        raise RuntimeError(
            "GRPO moved nothing: were all answers of every group worth the same, or is the learning rate too small?"
        )
    if (silent := watch.mean("frac_reward_zero_std", 0)) > 0.9:
        logger.warning(
            "GRPO: in %.0f%% of the groups all answers were worth the same; they teach nothing", 100 * silent
        )
    tail = max(1, len(watch.logs) // 10)
    return Optimised(
        tensors={name: p.detach().cpu().clone() for name, p in own.items()},
        steps=len(watch.logs),
        first_reward=watch.mean("reward", 0, 1),
        last_reward=watch.mean("reward", -tail),
        first_distance=watch.mean("kl", 0, 1),
        last_distance=watch.mean("kl", -tail),
        silent=silent,
        seconds=round(time.monotonic() - started, 1),
    )


def check_settings(config: GRPOConfig) -> None:
    """Raises a ValueError for settings that cannot work."""
    for name, known in (("loss", LOSSES), ("scale", SCALES)):
        if getattr(config, name) not in known:
            raise ValueError(f"rl: {name} {getattr(config, name)!r}: expected one of {', '.join(known)}")
    for name, least in (("prompts", 1), ("generations", 2), ("max_tokens", 1), ("epochs", 1e-9)):
        if (value := getattr(config, name)) < least:
            raise ValueError(f"rl: {name} {value} is too small; at least {least}")
    if config.learning_rate <= 0 or config.temperature <= 0 or config.beta < 0:
        raise ValueError("rl: learning_rate and temperature are above 0, and beta is not below it")
    held = config.device_batch_size or config.prompts * config.generations
    if (config.prompts * config.generations) % held:
        raise ValueError(f"rl: {config.prompts} x {config.generations} answers are no multiple of {held} on the device")
    if len(config.betas) != 2 or (config.max_steps is not None and config.max_steps < 1):
        raise ValueError(f"rl: betas {config.betas}: AdamW has two; max_steps {config.max_steps}: at least 1, or null")


def _check(config: GRPOConfig, prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase) -> None:
    check_settings(config)
    if len(prompts) < config.prompts:
        raise ValueError(f"rl: {len(prompts)} prompts; a step takes {config.prompts}")
    if tokenizer.eos_token is None:
        raise ValueError("rl: the tokenizer has no end-of-text token, so no answer would end")


def _steps(config: GRPOConfig, prompts: int) -> int:
    return config.max_steps or math.ceil(config.epochs * (prompts // config.prompts))


def _settings(config: GRPOConfig, model: Any, prompts: int, folder: str) -> dict[str, Any]:
    held = config.device_batch_size or config.prompts * config.generations
    return {
        "output_dir": folder,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": model.device.type == "cpu",
        "bf16": model.dtype == torch.bfloat16,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "adam_beta1": config.betas[0],
        "adam_beta2": config.betas[1],
        "lr_scheduler_type": "cosine",
        "warmup_steps": math.ceil(config.warmup_ratio * _steps(config, prompts)),
        "max_grad_norm": config.clip,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "per_device_train_batch_size": held,
        "gradient_accumulation_steps": config.prompts * config.generations // held,
        "num_generations": config.generations,
        "max_completion_length": config.max_tokens,
        "temperature": config.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "beta": 0.0,  # set once the trainer is there: it would make a reference of its own
        "loss_type": config.loss,
        "scale_rewards": config.scale,
        "gradient_checkpointing": False,
        "seed": config.seed,
        "data_seed": config.seed,
    }


class _Watch(TrainerCallback):
    """Keeps what each step logs, and shows a bar."""

    def __init__(self, steps: int) -> None:
        self.logs: list[dict[str, float]] = []
        self.bar = tqdm(total=steps, unit="step", desc="GRPO", leave=False, disable=None)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        """Called after each step, and once at the end with figures of the whole."""
        if logs and "reward" in logs:
            self.logs.append(dict(logs))
            self.bar.set_postfix_str(f"reward {logs['reward']:.3f}")
            self.bar.update()

    def mean(self, key: str, first: int, last: int | None = None) -> float:
        """Mean of a figure over some steps; 0 where it was not logged."""
        values = [float(log.get(key, 0.0)) for log in self.logs[first:last]]
        return sum(values) / len(values) if values else 0.0
