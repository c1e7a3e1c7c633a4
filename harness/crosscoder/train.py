"""Training a crosscoder on a stream of activations, and going on where it was stopped.

Weights, moments and losses are fp32. What is saved is everything that the next step depends on, so a training that was
stopped and one that was not end with the same bits.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from harness.config.crosscoder import TrainingConfig
from harness.crosscoder.crosscoder import Crosscoder, Shape
from harness.crosscoder.dead import Alive
from harness.crosscoder.loss import losses
from harness.crosscoder.schedule import Schedule
from harness.crosscoder.state import STATE, optimiser_tensors, read, restore_optimiser, write

logger = logging.getLogger(__name__)
LOGGED = 200  # points of the curves
# Tokens that means, norms and the threshold are taken over.
SAMPLE = 65_536


class Activations(Protocol):
    """Where activations come from; `harness.crosscoder.buffer.ActivationBuffer` is one."""

    served: int

    def batch(self, size: int) -> Tensor | None:
        """The next ``[size, M, D]``; None at the end."""
        ...

    def sample(self, tokens: int) -> Tensor:
        """Some activations, ``[N, M, D]``, which are not used up by that."""
        ...

    def state(self) -> dict[str, int]:
        """Where it stands."""
        ...

    def restore(self, state: dict[str, int]) -> None:
        """Goes to where it stood."""
        ...


@dataclass
class Training:
    """One training as it stands.

    Attributes:
        crosscoder: in training.
        schedule: its settings.
        buffer: where activations come from.
        made: what makes it: a saved state of another training is refused.
        folder: of the saved state; None saves nothing.
        step: steps that are done.
        seconds: spent in training, activations included; all sessions.
        log: losses at some steps.
    """

    crosscoder: Crosscoder
    schedule: Schedule
    buffer: Activations
    made: Mapping[str, Any]
    folder: Path | None = None
    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # One generator for first directions and what dead latents become: its state is saved.
        self._generator = torch.Generator().manual_seed(self.schedule.config.seed)
        self._alive = Alive(self.crosscoder.shape.latents, self.schedule.window)
        self._optimiser = torch.optim.Adam(self.crosscoder.parameters(), lr=self.schedule.config.rate)

    def begin(self) -> None:
        """Goes on where a saved state is, or starts.

        Raises:
            ValueError: if the saved state is of another training.
        """
        if self.folder is None or not (self.folder / STATE).is_file():
            self._start()
            return
        stored = read(self.folder / STATE)
        # Through JSON, as it comes back.
        if stored.record["made"] != json.loads(json.dumps(self.made)):
            raise ValueError(
                f"{self.folder / STATE} is of a training with other settings or models; remove it or take another out"
            )
        self._restore(stored.tensors, stored.record)
        logger.info("going on at step %d of %d", self.step, self.schedule.steps)

    def run(self, until: int | None = None, progress: bool = True) -> None:
        """Trains up to a step, by default to the end.

        Raises:
            ValueError: if the text ends before, or the loss is not finite.
        """
        last = self.schedule.steps if until is None else min(until, self.schedule.steps)
        begin, before = time.perf_counter(), self.seconds
        bar = tqdm(total=self.schedule.steps, initial=self.step, desc="crosscoder", unit="step", disable=not progress)
        every = self.schedule.config.save_every
        with bar:
            while self.step < last:
                terms = self._one()
                self.step += 1
                self.seconds = before + time.perf_counter() - begin
                bar.update()
                if terms is not None:
                    bar.set_postfix({k: f"{terms[k]:.4g}" for k in ("loss", "l0", "dead")})
                if self.folder is not None and every and self.step % every == 0:
                    self.save()
        if self.folder is not None:
            self.save()

    def finish(self) -> Crosscoder:
        """The trained crosscoder, its threshold set so that as many latents are on as in training."""
        assert self.step == self.schedule.steps, f"step {self.step} of {self.schedule.steps}"
        self._check_finite()
        if self.crosscoder.shape.kind == "batch_topk":
            calibrate(self.crosscoder, self.buffer.sample(SAMPLE))
        return self.crosscoder.requires_grad_(False)

    def save(self) -> None:
        """Writes the state; it replaces the one before when it is whole.

        Raises:
            ValueError: if a weight is not finite; the state before stands.
        """
        assert self.folder is not None
        self._check_finite()
        tensors = {f"crosscoder.{k}": v for k, v in self.crosscoder.state_dict().items()}
        tensors |= optimiser_tensors(self._optimiser)
        tensors |= {"generator": self._generator.get_state(), "alive": self._alive.last_K}
        record = {"made": self.made, "step": self.step, "seconds": self.seconds, "log": self.log}
        write(self.folder / STATE, tensors, {**record, "buffer": self.buffer.state()})

    def _check_finite(self) -> None:
        for name, parameter in self.crosscoder.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise ValueError(f"step {self.step}: {name} is not finite; take a smaller training.rate")

    def _start(self) -> None:
        x_BMD = self.buffer.sample(SAMPLE)
        mean_MD, norm_M = x_BMD.mean(dim=0), x_BMD.norm(dim=2).mean(dim=0)
        self.crosscoder.start(mean_MD, norm_M, self.schedule.decoder_norm, self._generator)

    def _restore(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        prefix = "crosscoder."
        self.crosscoder.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        restore_optimiser(self._optimiser, tensors)
        self._generator.set_state(tensors["generator"])
        self._alive.last_K = tensors["alive"]
        self.step, self.seconds, self.log = record["step"], record["seconds"], list(record["log"])
        self.buffer.restore(record["buffer"])

    def _one(self) -> dict[str, float] | None:
        """One step; returns its losses where they are logged."""
        config, step = self.schedule.config, self.step
        x_BMD = self.buffer.batch(config.batch)
        if x_BMD is None:
            raise ValueError(
                f"the text ended after {self.buffer.served} of {self.schedule.steps * config.batch} tokens: take more "
                "text, fewer training.tokens, or more buffer.passes over a buffer that holds all of it"
            )
        crosscoder = self.crosscoder
        x_BMD = x_BMD.to(crosscoder.bias_K.device)
        dead_K = self._alive.dead(step).to(x_BMD.device) if self.schedule.wakes == "auxiliary" else None
        k = self.schedule.k(step)
        terms = losses(crosscoder, x_BMD, self.schedule.l1(step), k, dead_K, config.auxiliary)
        self._optimiser.zero_grad(set_to_none=True)
        terms.total.backward()
        torch.nn.utils.clip_grad_norm_(crosscoder.parameters(), config.clip)
        for group in self._optimiser.param_groups:
            group["lr"] = self.schedule.rate(step)
        self._optimiser.step()
        self._alive.saw(terms.code_BK, step)
        if self.schedule.resamples(step + 1):
            self._alive.renew(crosscoder, self._optimiser, x_BMD, step + 1, self.schedule.decoder_norm, self._generator)
        if step % max(1, self.schedule.steps // LOGGED):
            return None
        told = {"loss": terms.total, "reconstruction": terms.reconstruction, "sparsity": terms.sparsity}
        values = {name: float(value.detach()) for name, value in told.items()}
        if not all(torch.isfinite(torch.tensor(list(values.values())))):
            raise ValueError(f"step {step}: the loss is {values['loss']}; take a smaller training.rate")
        values |= {"step": step, "l0": float((terms.code_BK > 0).sum(dim=1).float().mean())}
        values |= {"dead": float(self._alive.dead(step).sum()), "auxiliary": float(terms.auxiliary.detach())}
        self.log.append(values)
        return values


def new_training(
    buffer: Activations,
    models: int,
    width: int,
    config: TrainingConfig,
    made: Mapping[str, Any],
    folder: Path | None = None,
    device: str = "cpu",
) -> Training:
    """A training that has not begun.

    Raises:
        ValueError: for settings that cannot be.
    """
    schedule = Schedule.of(config)
    kind = config.kind
    assert kind in ("l1", "batch_topk")
    shape = Shape(models, width, config.latents, kind, config.k if kind == "batch_topk" else 0)  # type: ignore[arg-type] # Schedule.of checked the kind
    if config.tf32 and device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")
    return Training(Crosscoder(shape).to(device), schedule, buffer, made, folder)


@torch.no_grad()
def calibrate(crosscoder: Crosscoder, x_BMD: Tensor) -> None:
    """Sets the threshold of a BatchTopK crosscoder so that a token of this sample has ``k`` latents on average.

    The released code follows the smallest value of each batch through the training instead, and measures it in one
    space and uses it in another once the scale is folded.
    """
    crosscoder.threshold_K.zero_()
    weight_K = crosscoder.norms_KM.sum(dim=1)
    device = weight_K.device
    scores: list[Tensor] = []
    for part in x_BMD.split(4096):
        score_BK = crosscoder.rectified(crosscoder.scaled(part.to(device))) * weight_K
        positive = score_BK[score_BK > 0]
        # What is far from the strongest k a token cannot move the threshold, and at full size would fill the memory.
        most = 8 * crosscoder.shape.k * len(part)
        scores.append(positive.topk(most).values if len(positive) > most else positive)
    score = torch.cat(scores)
    kept = crosscoder.shape.k * len(x_BMD)
    if len(score) > kept:
        least = score.kthvalue(len(score) - kept).values  # the largest that is off
        crosscoder.threshold_K.copy_(least / weight_K.clamp(min=torch.finfo(weight_K.dtype).tiny))
