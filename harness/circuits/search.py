"""From the logits backwards: which heads matter to what is in the circuit already.

Wang et al. 2023, section 3; Andersen et al. 2025, "Accelerated path patching".

A receiver's senders are scored, the important ones join the circuit, and their queries, keys and values are the next
receivers. Receivers of one distance from the logits are taken together, as one sender's pass serves them all; the
circuit does not depend on the order.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from harness.circuits.edges import Edges, Effect
from harness.circuits.effects import Effects
from harness.circuits.nodes import Head, Receiver
from harness.circuits.stack import Stack
from harness.config.circuits import ThresholdConfig

logger = logging.getLogger(__name__)
RULES = ("sqrt", "linear", "absolute", "top")


@dataclass
class Threshold(ThresholdConfig):
    """When a sender is important to a receiver; the settings are those of its config.

    A head is important if ``|m| - |mean(m)| > t std(m)``, with m the effects of all senders before the receiver, unless
    no ``|m|`` exceeds ``least``. Both signs count: heads that work against the answer belong to the circuit. ``sqrt``:
    t = k + 2 / sqrt(senders before the receiver); ``linear``: t = k + 0.1 * layers between; the paper's grid is 2.5, 2,
    1.5, 1 for k and 0.02, 0.01, 0.002, 0.001 for ``least``. Where the senders are so few that no effect could ever pass
    (nine of them with k = 2), the rule is ``absolute``: ``|m| > least`` alone. ``top``: the ``count`` largest ``|m|``.
    """

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"unknown threshold rule {self.rule!r}; known: {', '.join(RULES)}")
        if self.least < 0 or self.count < 1 or self.z < 0:
            raise ValueError(
                f"threshold: least {self.least} and z {self.z} must not be negative, and count (it is {self.count}) "
                "is at least 1"
            )

    def important(self, receiver: Receiver, effects: Mapping[Head, Effect], excluded: int) -> list[Head]:
        """Senders that are important, in order of layer and head.

        Args:
            receiver: what receives.
            effects: of every sender before it that is allowed.
            excluded: number of heads before it that are not.
        """
        sizes = {head: abs(effect.mean) for head, effect in effects.items()}
        if not sizes or max(sizes.values()) <= self.least:
            return []
        if self.rule == "top":
            best = sorted(sizes, key=lambda h: (-sizes[h], h))[: self.count]
            chosen = [h for h in best if sizes[h] > self.least]
        elif self.rule == "absolute" or self._cannot_pass(
            receiver, sizes, len(sizes) + (excluded if self.zeros else 0)
        ):
            chosen = [h for h, size in sizes.items() if size > self.least]
        else:
            values = torch.tensor([e.mean for e in effects.values()] + [0.0] * (excluded if self.zeros else 0))
            values = values.double()
            mean, std = abs(float(values.mean())), float(values.std())
            chosen = [h for h, size in sizes.items() if size - mean > self._factor(receiver, h, len(values)) * std]
        return sorted(h for h in chosen if sizes[h] > self.z * effects[h].se)

    def _cannot_pass(self, receiver: Receiver, senders: Iterable[Head], n: int) -> bool:
        """Of n numbers none is further than (n - 1) / sqrt(n) standard deviations from their mean (Samuelson 1968)."""
        return n < 2 or (n - 1) / math.sqrt(n) <= min(self._factor(receiver, sender, n) for sender in senders)

    def _factor(self, receiver: Receiver, sender: Head, senders: int) -> float:
        k = self.k_logits if receiver.kind == "logits" else self.k
        if self.rule == "linear":
            return k + 0.1 * (receiver.layer - sender.layer)
        return k + 2 / math.sqrt(senders)


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        heads: the circuit.
        edges: effects of the paths that made heads join, in the order they were found.
        scored: every effect that was computed.
        waves: how many receivers were looked at in each step.
        stopped: the search ended early, as the circuit grew too large.
    """

    heads: frozenset[Head]
    edges: Edges
    scored: Edges
    waves: tuple[int, ...]
    stopped: bool = False


@dataclass
class Search:
    """A search over the heads of a model.

    Attributes:
        effects: computes effects.
        threshold: when a sender is important.
        allowed: heads that may be in the circuit; None for all.
        places: names of positions that are told apart; empty for all positions together.
        most: share of the heads beyond which the search stops; None for none.
    """

    effects: Effects
    threshold: Threshold = field(default_factory=Threshold)
    allowed: Collection[Head] | None = None
    places: Sequence[str] = ()
    most: float | None = None

    def run(self) -> Found:
        """Searches.

        Raises:
            ValueError: for an allowed head that the model lacks.
        """
        stack = self.effects.stack
        senders, excluded = self._senders(stack)
        wave = [Receiver("logits", stack.n_layers)]
        visited: set[Receiver] = set()
        heads: set[Head] = set()
        edges: dict[tuple[Receiver, Head], Effect] = {}
        scored: dict[tuple[Receiver, Head], Effect] = {}
        sizes, stopped = [], False
        while wave and not stopped:
            sizes.append(len(wave))
            visited |= set(wave)
            found = self.effects.of(senders, wave, f"path patching, step {len(sizes)}")
            scored.update(found)
            joined: set[Head] = set()
            for receiver in wave:
                of = {sender: effect for (r, sender), effect in found.items() if r == receiver}
                left_out = sum(n for layer, n in excluded.items() if layer < receiver.layer)
                for sender in self.threshold.important(receiver, of, left_out):
                    edges[receiver, sender] = of[sender]
                    joined.add(sender)
            heads |= joined
            wave = sorted({r for h in joined for r in self._inputs(stack, h)} - visited)
            total = stack.n_layers * stack.n_heads * max(1, len(self.places))
            stopped = self.most is not None and len(heads) > self.most * total
            logger.info("path patching: step %d, %d heads", len(sizes), len(heads))
        return Found(frozenset(heads), edges, scored, tuple(sizes), stopped)

    def _senders(self, stack: Stack) -> tuple[list[Head], dict[int, int]]:
        """All senders, and how many of each layer are not allowed."""
        grid = [(layer, head) for layer in range(stack.n_layers) for head in range(stack.n_heads)]
        allowed = None if self.allowed is None else {(h.layer, h.head) for h in self.allowed}
        if allowed is not None and (strange := sorted(allowed - set(grid))):
            raise ValueError(
                f"head {strange[0][0]}.{strange[0][1]}: the model has {stack.n_layers} x {stack.n_heads} heads"
            )
        kept = [at for at in grid if allowed is None or at in allowed]
        out = [Head(layer, head, place) for layer, head in kept for place in (self.places or ("",))]
        left = {
            layer: sum((layer, h) not in set(kept) for h in range(stack.n_heads)) for layer in range(stack.n_layers)
        }
        return out, {layer: n * max(1, len(self.places)) for layer, n in left.items()}

    def _inputs(self, stack: Stack, head: Head) -> list[Receiver]:
        """What a head receives: its query where it stands, its group's key and value wherever they may come from."""
        if head.layer == 0:
            return []
        group = head.head * stack.n_kv // stack.n_heads
        sources = self.places or ("",)
        return [
            Receiver("q", head.layer, head.head, head.place),
            *(Receiver(kind, head.layer, group, place) for kind in ("k", "v") for place in sources),
        ]
