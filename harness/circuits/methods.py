"""Every way of finding a circuit, on one model and one task, each with its own cost as though it were alone."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.circuits.ablation import Ablated, Means, corrupt_means
from harness.circuits.activation import activation_effects
from harness.circuits.attribution import attribution_effects
from harness.circuits.cost import Cost
from harness.circuits.edges import EdgeFile, Edges, Effect
from harness.circuits.effects import Effects
from harness.circuits.nodes import Head, everywhere, heads_text
from harness.circuits.scores import SCORES, Scores, activations, best, keep, ranked
from harness.circuits.search import Found, Search, Threshold
from harness.circuits.settings import check_settings, check_slope
from harness.circuits.sparsity import Candidate, choose, cliffs, performances, sweep, unions
from harness.circuits.stack import Stack
from harness.circuits.tasks import METRICS, TaskSets
from harness.config.circuits import CircuitConfig


@dataclass(frozen=True)
class Discovered:
    """A circuit, how it was found and what that took.

    Attributes:
        method: how.
        heads: the circuit.
        order: every head of the model, the most important first.
        cost: what was computed to find it.
        edges: paths that made heads join, of path patching.
        details: what else is to be recorded: thresholds, curves, candidates.
    """

    method: str
    heads: frozenset[Head]
    order: tuple[Head, ...]
    cost: Cost
    edges: Edges = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


class Methods:
    """Finds circuits of one task in one model.

    Args:
        stack: the model.
        sets: the task's prompts.
        config: settings.
        fingerprint: of the model, for what is kept on the disk.
        folder: where effects of paths are kept while they are computed; None keeps none.

    Raises:
        ValueError: for settings that cannot be.
    """

    def __init__(
        self, stack: Stack, sets: TaskSets, config: CircuitConfig, fingerprint: str, folder: Path | None = None
    ) -> None:
        self.stack, self.sets, self.config = stack, sets, config
        self.metric = config.metric or METRICS.get(sets.task, "logit_diff")
        self._fingerprint, self._folder = fingerprint, folder
        self._threshold = Threshold(**asdict(config.threshold))
        self._done: dict[str, Discovered] = {}
        check_settings(config)

    @property
    def heads(self) -> int:
        """Heads of the model."""
        return len(self.stack.heads)

    @cached_property
    def means(self) -> Means | None:
        """Means for ablation; they are prepared once and belong to no method's cost."""
        if self.config.ablation in ("zero", "resample"):
            return None
        return corrupt_means(self.stack, self.sets.means, self.config.ablation == "template", self.config.batch_tokens)

    def ablated(self, prompts: str = "find") -> Ablated:
        """Circuits at work on one of the sets."""
        return Ablated(
            self.stack, getattr(self.sets, prompts), self.config.ablation, self.means, self.config.batch_tokens
        )

    def check(self, method: str | None = None) -> None:
        """Checks names before anything is computed.

        Raises:
            ValueError: for an unknown method, metric or ablation.
        """
        check_settings(self.config, [method or self.config.method])
        check_slope(method or self.config.method, self.metric)

    def run(self, method: str) -> Discovered:
        """Finds a circuit.

        Raises:
            ValueError: for an unknown method, or a model that does not do the task.
        """
        self.check(method)
        if method not in self._done:
            if method in ("path_patching", "app"):
                self._done[method] = self._patched(method)
            elif method == "hybrid":
                self._done[method] = self._hybrid()
            elif method in SCORES:
                self._done[method] = self._scored(method)
            else:
                self._done[method] = self._by_effect(method)
        return self._done[method]

    def effects(self, method: str, allowed: frozenset[Head] | None = None) -> Effects:
        """Effects over the prompts that circuits are found on, kept by method and settings.

        A search with other settings keeps its own, so that the cost of one is never another's.
        """
        key = {
            "model": self._fingerprint,
            "prompts": self.sets.find.digest,
            "metric": self.metric,
            "method": method,
            "threshold": asdict(self.config.threshold),
            "places": list(self.config.places),
            "allowed": None if allowed is None else heads_text(allowed),
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
        file = EdgeFile(self._folder / f"{method}-{digest}.edges.jsonl", key) if self._folder is not None else None
        return Effects(self.stack, self.sets.find, self.metric, self.config.batch_tokens, file)

    def _patched(self, method: str) -> Discovered:
        """Path patching, over all heads or over the hybrid circuit's."""
        before = self.run("hybrid") if method == "app" else None
        allowed = None if before is None else before.heads
        effects = self.effects(method, allowed)
        found = Search(effects, self._threshold, allowed, self.config.places, self.config.most).run()
        details = {
            "threshold": asdict(self.config.threshold),
            "waves": list(found.waves),
            "stopped": found.stopped,
            "clean": float(effects.clean_N.mean()),
            "corrupt": float(effects.corrupt_N.mean()),
            "paths": len(found.scored),
        }
        cost = effects.cost
        if before is not None:
            details["hybrid"] = {"heads": heads_text(before.heads), **before.details}
            details["path_patching_cost"] = effects.cost.record()
            cost = cost.plus(before.cost)
        return Discovered(method, found.heads, self._order(_strongest(found)), cost, found.edges, details)

    def _scored(self, method: str) -> Discovered:
        """A score of activations, its curve over sparsity, and the best of its cliff points."""
        cost, begin = Cost(), time.perf_counter()
        scores = SCORES[method](self.stack, activations(self.stack, self.sets.find, self.config.batch_tokens, cost))
        return self._swept(method, scores, cost, begin)

    def _by_effect(self, method: str) -> Discovered:
        """Effects of single heads, ranked by size and treated as the scores are."""
        begin = time.perf_counter()
        effects = Effects(self.stack, self.sets.find, self.metric, self.config.batch_tokens)
        if method == "activation":
            found = activation_effects(effects, self.stack.heads)
        else:
            found = attribution_effects(effects, self.config.steps if method == "attribution_ig" else 1)
        sizes = {head: abs(effect.mean) for head, effect in found.items()}
        record = {str(head): [effect.mean, effect.se] for head, effect in found.items()}
        return self._swept(method, sizes, effects.cost, begin, {"effects": record})

    def _swept(
        self, method: str, scores: Scores, cost: Cost, begin: float, extra: Mapping[str, Any] | None = None
    ) -> Discovered:
        ablated = self.ablated()
        first, last, step = self.config.grid
        grid = [percent / 100 for percent in range(first, last + 1, step)]
        curve = sweep(ablated, scores, self.metric, grid)
        points = cliffs(curve)
        circuits = {name: keep(scores, p) for name, p in points.items()}
        chosen, choice = self._choose(ablated, circuits)
        cost = cost.plus(ablated.cost)
        cost.seconds = time.perf_counter() - begin
        details = {
            "scores": {str(head): value for head, value in sorted(scores.items())},
            "curve": curve.record(),
            "cliffs": points,
            **choice,
            **(extra or {}),
        }
        return Discovered(method, chosen.heads, tuple(ranked(scores)), cost, {}, details)

    def _hybrid(self) -> Discovered:
        """Unions of FLAP's and Contrastive-FLAP's circuits at their cliff points, and the best of them."""
        parts = [self.run("flap"), self.run("contrastive")]
        begin = time.perf_counter()
        first, second = (
            {name: best(p.order, sparsity) for name, sparsity in p.details["cliffs"].items()} for p in parts
        )
        ablated = self.ablated()
        chosen, choice = self._choose(ablated, unions(first, second))
        cost = parts[0].cost.plus(parts[1].cost).plus(ablated.cost)
        cost.seconds += time.perf_counter() - begin
        # A head is as important as the better of its two ranks says.
        ranks = {h: min(p.order.index(h) for p in parts) for h in parts[0].order}
        order = tuple(sorted(ranks, key=lambda h: (ranks[h], h)))
        return Discovered("hybrid", chosen.heads, order, cost, {}, choice)

    def _choose(self, ablated: Ablated, circuits: Mapping[str, frozenset[Head]]) -> tuple[Candidate, dict[str, Any]]:
        values = performances(ablated, list(circuits.values()), self.metric)
        candidates = [
            Candidate(name, heads, value) for (name, heads), value in zip(circuits.items(), values, strict=True)
        ]
        chosen, met = choose(candidates, self.config.performance, round(self.config.largest * self.heads))
        record = [{"name": c.name, "size": len(c.heads), "performance": c.performance} for c in candidates]
        return chosen, {"candidates": record, "chosen": chosen.name, "as_asked": met}

    def _order(self, sizes: Mapping[Head, float]) -> tuple[Head, ...]:
        """All heads by size; those without one come last."""
        every = dict.fromkeys(self.stack.heads, 0.0)
        return tuple(ranked({**every, **sizes}))


def _strongest(found: Found) -> dict[Head, float]:
    """The largest effect of each head on anything that was looked at."""
    out: dict[Head, float] = {}
    for (_, sender), effect in found.scored.items():
        (head,) = everywhere([sender])
        out[head] = max(out.get(head, 0.0), abs(effect.mean))
    return out


def edge_rows(edges: Mapping[tuple[Any, Head], Effect]) -> Sequence[list[Any]]:
    """Paths as JSON: receiver, sender, effect and its standard error."""
    return [[str(receiver), str(sender), effect.mean, effect.se] for (receiver, sender), effect in edges.items()]
