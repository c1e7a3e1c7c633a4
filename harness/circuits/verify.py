"""Whether a circuit does what the model does: faithfulness above the floor, with intervals, nulls and controls.

Wang et al. 2023, section 4 (faithfulness, completeness, minimality).
Faithfulness alone says little: as many heads picked blindly may keep as much. So every number stands beside the same
one of random circuits, of any heads and of as many heads in each layer.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from scipy import stats

from harness.circuits.ablation import Ablated
from harness.circuits.nodes import Head, everywhere
from harness.circuits.share import Interval, Share


@dataclass(frozen=True)
class Null:
    """Circuits drawn at random, verified as the found one was.

    Attributes:
        kind: ``random``: any heads; ``layers``: as many in each layer.
        n: how many were drawn.
        mean: of their faithfulness.
        best: the largest.
        p: share of them, the found one included, that are at least as faithful.
    """

    kind: str
    n: int
    mean: float
    best: float
    p: float


@dataclass(frozen=True)
class Verified:
    """A circuit beside its model.

    Attributes:
        size: heads.
        sparsity: share of the model's heads that are left out.
        n: prompts.
        metric: name of the metric.
        ablation: what stands in the place of the heads that are left out.
        circuit: metric of the circuit.
        full: of the model.
        floor: without any head.
        faithfulness: ``(circuit - floor) / (full - floor)``.
        raw: ``circuit / full``, the paper's performance; None where the model's is 0.
        kl: divergence from the model's next token, nats.
        kl_floor: the same without any head.
        accuracy: share of prompts whose likeliest answer is right.
        accuracy_full: of the model.
        top1: share of prompts whose likeliest token is a right answer.
        nulls: random circuits.
        minimality: head -> what the circuit loses without it, in shares of ``full - floor``, and its standard error.
        incompleteness: largest ``|F(C less K) - F(M less K)|`` found over sets K of the circuit, in the same shares.
        incomplete_without: that set.
        without_means: prompts that got means over all positions, as no prompt of their template and length had any.
    """

    size: int
    sparsity: float
    n: int
    metric: str
    ablation: str
    circuit: float
    full: float
    floor: float
    faithfulness: Interval
    raw: float | None
    kl: float
    kl_floor: float
    accuracy: Interval
    accuracy_full: float
    top1: float
    nulls: tuple[Null, ...] = ()
    minimality: dict[str, tuple[float, float]] = field(default_factory=dict)
    incompleteness: float | None = None
    incomplete_without: tuple[str, ...] = ()
    without_means: int = 0

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def verify(
    ablated: Ablated,
    circuit: Collection[Head],
    metric: str,
    nulls: int = 100,
    subsets: int = 20,
    seed: int = 0,
    controls: bool = True,
) -> Verified:
    """Verifies a circuit.

    Args:
        ablated: the model and prompts that the circuit was not found on.
        circuit: its heads.
        metric: what the task measures.
        nulls: random circuits of each kind; 0 for none.
        subsets: sets of heads that are taken out to look for incompleteness, besides single heads.
        seed: draws null circuits, sets, and prompts for the intervals.
        controls: whether minimality and completeness are looked at.
    """
    stack = ablated.stack
    total = len(stack.heads)
    heads = frozenset(circuit)
    values = ablated.values([heads, frozenset()], [metric, "kl", "accuracy", "top1"])
    full_N = ablated.full(metric)
    of = Share(full_N, values[metric][1])
    right = int(values["accuracy"][0].sum())
    wilson = stats.binomtest(right, len(full_N)).proportion_ci(method="wilson")
    drawn = _nulls(ablated, heads, metric, nulls, of, seed) if nulls else ()
    lost, gap, without = _controls(ablated, heads, metric, subsets, of, seed) if controls and heads else ({}, None, ())
    return Verified(
        size=len(everywhere(heads)),
        sparsity=1 - len(everywhere(heads)) / total,
        n=len(full_N),
        metric=metric,
        ablation=ablated.ablation,
        circuit=float(values[metric][0].mean()),
        full=float(full_N.mean()),
        floor=float(values[metric][1].mean()),
        faithfulness=of.interval(values[metric][0], seed),
        raw=float(values[metric][0].mean() / full_N.mean()) if float(full_N.mean()) else None,
        kl=float(values["kl"][0].mean()),
        kl_floor=float(values["kl"][1].mean()),
        accuracy=Interval(right / len(full_N), float(wilson.low), float(wilson.high)),
        accuracy_full=float(ablated.full("accuracy").mean()),
        top1=float(values["top1"][0].mean()),
        nulls=drawn,
        minimality=lost,
        incompleteness=gap,
        incomplete_without=without,
        without_means=ablated.without_means,
    )


def _nulls(
    ablated: Ablated, heads: frozenset[Head], metric: str, count: int, share: Share, seed: int
) -> tuple[Null, ...]:
    """Random circuits of the same size; a head at places is drawn with its places."""
    stack, rng = ablated.stack, random.Random(f"nulls-{seed}")
    places: dict[tuple[int, int], list[str]] = {}
    for head in sorted(heads):
        places.setdefault((head.layer, head.head), []).append(head.place)
    layers = Counter(layer for layer, _ in places)
    grid = [(layer, head) for layer in range(stack.n_layers) for head in range(stack.n_heads)]

    def draw(kind: str) -> frozenset[Head]:
        if kind == "random":
            chosen = rng.sample(grid, len(places))
        else:
            chosen = [(i, h) for i, n in sorted(layers.items()) for h in rng.sample(range(stack.n_heads), n)]
        return frozenset(Head(*at, p) for at, ps in zip(chosen, places.values(), strict=True) for p in ps)

    out = []
    found = share.of(ablated.values([heads], [metric])[metric][0])
    for kind in ("random", "layers"):
        circuits = [draw(kind) for _ in range(count)]
        unique = list(dict.fromkeys(circuits))
        values = ablated.values(unique, [metric])[metric]
        known = {circuit: share.of(value) for circuit, value in zip(unique, values, strict=True)}
        shares = [known[circuit] for circuit in circuits]
        # A circuit that is drawn again is as good as itself, whatever the rounding of its batch.
        as_good = sum(s >= found - 1e-6 for s in shares)
        out.append(Null(kind, count, sum(shares) / count, max(shares), (1 + as_good) / (1 + count)))
    return tuple(out)


def _controls(
    ablated: Ablated, heads: frozenset[Head], metric: str, subsets: int, share: Share, seed: int
) -> tuple[dict[str, tuple[float, float]], float, tuple[str, ...]]:
    """Minimality by leaving one head out, and completeness by leaving sets out of circuit and model alike."""
    rng = random.Random(f"subsets-{seed}")
    members = sorted(heads)
    everything = frozenset(ablated.stack.heads)
    taken = [frozenset([head]) for head in members]
    taken += [frozenset(rng.sample(members, rng.randint(1, len(members)))) for _ in range(subsets)]
    taken = list(dict.fromkeys([*taken, heads]))
    inside = ablated.values([heads, *(heads - k for k in taken)], [metric])[metric]
    outside = ablated.values([everything - everywhere(k) for k in taken], [metric])[metric]
    lost = {}
    for i, head in enumerate(members):
        change = (inside[0] - inside[1 + i]) / share.gap
        lost[str(head)] = (float(change.mean()), float(change.std() / math.sqrt(len(change))))
    gaps = (inside[1:].mean(dim=1) - outside.mean(dim=1)).abs() / abs(share.gap)
    worst = int(torch.argmax(gaps))
    return lost, float(gaps[worst]), tuple(map(str, sorted(taken[worst])))
