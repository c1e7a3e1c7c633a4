"""Effects of paths over a whole set of prompts: normalised, with standard errors, and kept: nothing is done twice."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from harness.circuits.cost import Cost
from harness.circuits.downstream import Batch
from harness.circuits.edges import EdgeFile, Edges, Effect
from harness.circuits.metrics import measure
from harness.circuits.nodes import Head, Receiver
from harness.circuits.path_patching import Paths
from harness.circuits.prompts import Prompts, chunks
from harness.circuits.stack import Stack

logger = logging.getLogger(__name__)
_GROUPS = 8  # batches of prompts alike in where they begin to differ and where they end


class NoEffectError(ValueError):
    """The model does not tell clean prompts from corrupt ones, so there is nothing to trace."""


class Effects:
    """Effects of paths in one model on one set of prompts.

    Args:
        stack: the model.
        prompts: the prompts.
        metric: what is measured; see `harness.circuits.metrics`.
        batch_tokens: tokens (rows times positions) that are computed at a time.
        file: where effects are kept.

    Raises:
        NoEffectError: if the metric is no better on clean prompts than on corrupt ones.
    """

    def __init__(
        self, stack: Stack, prompts: Prompts, metric: str = "logit_diff", batch_tokens: int = 16384,
        file: EdgeFile | None = None,
    ) -> None:  # fmt: skip
        self.stack, self.prompts, self.metric = stack, prompts, metric
        self.cost = Cost()
        self._tokens, self._file = batch_tokens, file
        self._known: dict[tuple[Receiver, Head], Effect] = {}
        self.batches: list[Batch] = []
        self._parts = chunks(prompts, batch_tokens, _GROUPS)
        # Outside the stack's block, whose tensors could not be used where gradients are taken.
        some = [prompts.take(part) for part in self._parts]
        with self.timed():
            self.batches = [Batch.of(stack, part, self.cost) for part in some]
            values = [self._baselines(batch) for batch in self.batches]
        self.cost.passes["trace"] += 2
        if file is not None:
            self.cost = self.cost.plus(file.cost)  # what an earlier search computed is not computed again, but it was
        self.clean_N, self.corrupt_N = (self.joined([v[i] for v in values]) for i in range(2))
        self.gap = float(self.clean_N.mean() - self.corrupt_N.mean())
        if not (math.isfinite(self.gap) and abs(self.gap) > 1e-6 and (metric == "kl" or self.gap > 0)):
            raise NoEffectError(
                f"{metric} is {self.clean_N.mean():.4g} on the clean prompts and {self.corrupt_N.mean():.4g} on the "
                "corrupt ones: this model does not do the task, so there is no effect to trace"
            )

    def of(self, senders: Iterable[Head], receivers: Sequence[Receiver], what: str = "paths") -> Edges:
        """Effects of senders on the receivers behind them.

        Args:
            senders: heads.
            receivers: what they reach.
            what: name of the progress bar.
        """
        senders = sorted(senders)
        wanted = [(r, s) for r in receivers for s in senders if s.layer < r.layer]
        for key in wanted:
            if key not in self._known and self._file is not None and (kept := self._file.get(*key)) is not None:
                self._known[key] = kept
        missing = [s for s in senders if any(s == t and (r, t) not in self._known for r, t in wanted)]
        with self.timed(), tqdm(total=len(missing), desc=what, unit="sender", leave=False) as bar:
            for group in self._groups(missing):
                edges = self._compute(group, [r for r in receivers if any(s.layer < r.layer for s in group)])
                self._known.update(edges)
                bar.update(len(group))
        return {key: self._known[key] for key in wanted}

    def _compute(self, senders: Sequence[Head], receivers: Sequence[Receiver]) -> dict[tuple[Receiver, Head], Effect]:
        parts: dict[tuple[Receiver, Head], list[Tensor]] = {}
        cost, begin = Cost(), time.perf_counter()
        for batch in self.batches:
            paths = Paths(self.stack, batch, self.score(batch), cost)
            for key, values in paths.effects(senders, receivers).items():
                parts.setdefault(key, []).append(values)
        # A pass is one over all prompts, however many batches they are in.
        cost.passes = Counter({name: count // len(self.batches) for name, count in cost.passes.items()})
        self.cost = self.cost.plus(cost)
        edges = {key: self.effect(self.joined(values)) for key, values in parts.items()}
        if self._file is not None:
            cost.seconds = time.perf_counter() - begin
            self._file.add(edges, cost)
        return edges

    def effect(self, patched_N: Tensor) -> Effect:
        """What patched runs did, from their values prompt by prompt."""
        change = (patched_N - self.clean_N) / abs(self.gap)
        if self.metric == "kl":
            change = -change  # a divergence that grows is harm
        return Effect(float(change.mean()), float(change.std() / math.sqrt(len(change))))

    def _groups(self, senders: Sequence[Head]) -> list[list[Head]]:
        """Senders that are stacked together."""
        rows = max((len(batch.prompts) * batch.prompts.clean_NT.shape[1] for batch in self.batches), default=1)
        size = max(1, self._tokens // rows)
        return [list(senders[i : i + size]) for i in range(0, len(senders), size)]

    def score(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """The metric of a batch's logits."""
        reference = batch.clean.logits_BV.clone()
        return lambda logits: measure(self.metric, logits, batch.prompts, reference)

    def _baselines(self, batch: Batch) -> tuple[Tensor, Tensor]:
        score = self.score(batch)
        return score(batch.clean.logits_BV).cpu(), score(batch.corrupt_logits_NV).cpu()

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Values in the order of the prompts, in double precision."""
        out = torch.empty(len(self.prompts), dtype=torch.float64)
        for part, values in zip(self._parts, parts, strict=True):
            out[part] = values.double()
        return out

    def timed(self) -> _Timed:
        """A block in which the layers can be called; its time is counted."""
        return _Timed(self)


class _Timed:
    """The stack's block, with its time counted."""

    def __init__(self, effects: Effects) -> None:
        self._effects, self._block = effects, effects.stack.running()

    def __enter__(self) -> None:
        self._begin = time.perf_counter()
        self._block.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._block.__exit__(*error)
        self._effects.cost.seconds += time.perf_counter() - self._begin
