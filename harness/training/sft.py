"""Supervised fine-tuning of some tensors of a model, by TRL."""

from __future__ import annotations

import copy
import logging
import math
import random
import tempfile
import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from harness.config.training import GRPOConfig, SFTConfig
from harness.training.masked import MaskedAdamW, only_active
from harness.training.texts import Text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        tensors: the trained tensors by parameter name, in the model's dtype, on the CPU.
        steps: optimiser steps.
        steps_per_second: of the training loop alone, after its first step.
        first_loss: mean loss of the first step, in nats a learned token.
        last_loss: mean loss over the last tenth of the steps.
        truncated: texts that were longer than ``max_length`` and lost their end.
        dropped: of these, texts of which no completion was left.
        learned_tokens: tokens of completions in one pass over the texts.
    """

    tensors: dict[str, Tensor]
    steps: int
    steps_per_second: float
    first_loss: float
    last_loss: float
    truncated: int
    dropped: int
    learned_tokens: int

    def measured(self) -> dict[str, float]:
        """The numbers, for a patch's provenance."""
        names = ("steps", "steps_per_second", "first_loss", "last_loss", "truncated", "dropped", "learned_tokens")
        return {name: getattr(self, name) for name in names}


def trl_version() -> str:
    """Version of TRL.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        return version("trl")
    except PackageNotFoundError as error:
        raise ValueError("training needs TRL: pip install variant-harness[train]") from error


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    names: Collection[str],
    config: SFTConfig,
    masks: Mapping[str, Tensor] | None = None,
) -> Trained:
    """Trains a copy of a model on completions only; the model itself is left alone.

    Args:
        model: the model to start from.
        tokenizer: its tokenizer.
        texts: what to learn.
        names: parameters that are trained; all others are frozen.
        config: how.
        masks: name -> elements that are trained, the others staying bit by bit; None for all. A tensor without any
            must not be among ``names``.

    Raises:
        ValueError: if the settings cannot work.
        RuntimeError: if a frozen tensor or element changed, or a trained tensor did not.
    """
    from trl import SFTTrainer

    _check(config, texts, tokenizer)
    learner = copy.deepcopy(model)
    for name, parameter in learner.named_parameters():
        parameter.requires_grad_(name in names)
    rows = datasets.Dataset.from_list([{"prompt": t.prompt, "completion": t.completion} for t in texts])
    logger.info("training %d tensors on %d texts", len(names), len(texts))
    padded = copy.deepcopy(tokenizer)
    padded.pad_token = tokenizer.pad_token or tokenizer.eos_token
    watch = _Watch(_steps(config, len(texts)))
    own = {name: p for name, p in learner.named_parameters() if name in names}
    optimizer = None if masks is None else masked_adamw(own, masks, config)
    apart = nullcontext() if masks is None else only_active(own, masks)
    with tempfile.TemporaryDirectory() as folder, leaving_no_trace(model), watch.bar, apart:
        trainer = SFTTrainer(
            model=learner,
            args=_arguments(config, model, len(texts), folder),
            train_dataset=rows,
            processing_class=padded,
            callbacks=[watch],
            optimizers=(optimizer, None),
        )
        trainer.remove_callback(PrinterCallback)
        encoded = trainer.train_dataset
        if not len(encoded):
            raise ValueError(
                f"train: max_length {config.max_length} leaves nothing to learn of any of {len(texts)} texts"
            )
        trainer.train()
    _verify(model, learner, names)
    lengths = [len(tokenizer(t.prompt + t.completion)["input_ids"]) + 1 for t in texts]
    truncated, dropped = sum(length > config.max_length for length in lengths), len(texts) - len(encoded)
    if truncated:
        cut = f"{truncated} of {len(texts)} texts are longer than {config.max_length} tokens and were cut"
        logger.warning("%s, %d of them to nothing that could be learned", cut, dropped)
    return Trained(
        tensors={name: own[name].detach().cpu().clone() for name in names},
        steps=len(watch.losses),
        steps_per_second=watch.rate(),
        first_loss=watch.losses[0],
        last_loss=sum(watch.tail()) / len(watch.tail()),
        truncated=truncated,
        dropped=dropped,
        learned_tokens=sum(label != -100 for labels in encoded["labels"] for label in labels),
    )


def masked_adamw(
    parameters: Mapping[str, torch.nn.Parameter], masks: Mapping[str, Tensor], config: SFTConfig | GRPOConfig
) -> MaskedAdamW:
    """AdamW of a config over chosen elements."""
    settings = {"lr": config.learning_rate, "betas": tuple(config.betas), "weight_decay": config.weight_decay}
    return MaskedAdamW(parameters, masks, **settings)


def _check(config: SFTConfig, texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase) -> None:
    held = config.batch_size if config.device_batch_size is None else config.device_batch_size
    for name, least in (("learning_rate", 0), ("batch_size", 1), ("epochs", 1e-9), ("max_length", 2)):
        if (value := getattr(config, name)) < least:
            raise ValueError(f"train: {name} {value} is too small")
    if len(config.betas) != 2:
        raise ValueError(f"train: betas {config.betas}: AdamW has two")
    if held < 1 or config.batch_size % held:
        raise ValueError(f"train: batch_size {config.batch_size} is no multiple of device_batch_size {held}")
    if config.max_steps is not None and config.max_steps < 1:
        raise ValueError(f"train: max_steps {config.max_steps}: at least 1, or null for no such end")
    if not texts:
        raise ValueError("train: no texts")
    if tokenizer.eos_token is None:
        raise ValueError("train: the tokenizer has no end-of-text token, so the model could not learn to stop")


def _steps(config: SFTConfig, rows: int) -> int:
    return config.max_steps or math.ceil(config.epochs * math.ceil(rows / config.batch_size))


def _arguments(config: SFTConfig, model: PreTrainedModel, rows: int, folder: str) -> Any:
    from trl import SFTConfig as Arguments

    held = config.device_batch_size or config.batch_size
    return Arguments(
        output_dir=folder,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        use_cpu=model.device.type == "cpu",
        bf16=model.dtype == torch.bfloat16,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        adam_beta1=config.betas[0],
        adam_beta2=config.betas[1],
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(config.warmup_ratio * _steps(config, rows)),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=held,
        gradient_accumulation_steps=config.batch_size // held,
        gradient_checkpointing=config.gradient_checkpointing,
        max_length=config.max_length,
        completion_only_loss=True,
        seed=config.seed,
        data_seed=config.seed,
    )


class _Watch(TrainerCallback):
    """Keeps the loss of each step and the time it ended, and shows a bar."""

    def __init__(self, steps: int) -> None:
        self.losses: list[float] = []
        self.ends: list[float] = []
        self.bar = tqdm(total=steps, unit="step", desc="training", leave=False, disable=None)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        """Called after each step, and once at the end with figures of the whole."""
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))
            self.ends.append(time.perf_counter())
            self.bar.set_postfix_str(f"loss {self.losses[-1]:.4f}")
            self.bar.update()

    def rate(self) -> float:
        """Steps a second, without the first."""
        spent = self.ends[-1] - self.ends[0]
        return (len(self.ends) - 1) / spent if spent > 0 else 0.0

    def tail(self) -> list[float]:
        """Losses of the last tenth of the steps."""
        return self.losses[-max(1, len(self.losses) // 10) :]


@contextmanager
def leaving_no_trace(model: PreTrainedModel) -> Iterator[None]:
    """The trainer seeds every generator there is: they are as they were afterwards. No bars but ours."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    states = random.getstate(), np.random.get_state()
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        if shown:
            datasets.enable_progress_bars()


def _verify(model: PreTrainedModel, learner: PreTrainedModel, names: Collection[str]) -> None:
    """What is frozen must be the same bit by bit, what is trained must not."""
    before, after = dict(model.named_parameters()), dict(learner.named_parameters())
    moved = {name for name, parameter in after.items() if not torch.equal(parameter, before[name])}
    if stray := sorted(moved - set(names)):
        raise RuntimeError(f"training changed {len(stray)} frozen tensors: {stray[0]}, ...")
    if still := sorted(set(names) - moved):
        raise RuntimeError(
            f"training left {len(still)} of {len(names)} trained tensors as they were: {still[0]}, ...; "
            "is the learning rate too small for the dtype?"
        )
