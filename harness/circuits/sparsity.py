"""How large a circuit has to be: performance over sparsity, cliff points, and the choice among candidates.

Andersen et al. 2025, "Accelerated path patching", as its released code does it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.circuits.ablation import Ablated
from harness.circuits.nodes import Head
from harness.circuits.scores import Scores, keep

GRID = tuple(percent / 100 for percent in range(100))
CLIFFS = ("first", "biggest", "fixed")
FIXED = 0.75


@dataclass(frozen=True)
class Curve:
    """Performance of the best heads by some score, at each sparsity.

    Attributes:
        sparsities: in rising order.
        performance: share of the model's metric above the floor that is left.
    """

    sparsities: tuple[float, ...]
    performance: tuple[float, ...]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {"sparsities": list(self.sparsities), "performance": list(self.performance)}


def performances(ablated: Ablated, circuits: Sequence[Collection[Head]], metric: str) -> list[float]:
    """Share of the model's metric above the floor (no head left) that each circuit keeps."""
    values = ablated.values([frozenset(), *circuits], [metric])[metric].mean(dim=1)
    full, floor = float(ablated.full(metric).mean()), float(values[0])
    return [(float(value) - floor) / (full - floor) for value in values[1:]]


def sweep(ablated: Ablated, scores: Scores, metric: str, grid: Sequence[float] = GRID) -> Curve:
    """The curve of a score; sparsities that keep the same heads are computed once."""
    sparsities = tuple(sorted(grid))
    circuits = [keep(scores, sparsity) for sparsity in sparsities]
    known = dict.fromkeys(circuits)
    values = dict(zip(known, performances(ablated, list(known), metric), strict=True))
    return Curve(sparsities, tuple(values[circuit] for circuit in circuits))


def cliffs(curve: Curve) -> dict[str, float]:
    """Sparsities before performance falls.

    The window is a tenth of the range of sparsities; a fall is a tenth of the range of performance.

    Returns:
        ``first``: the first sparsity from which performance falls within a window; ``biggest``: that from which it
        falls most; ``fixed``: 0.75.
    """
    sparsities, values = curve.sparsities, curve.performance
    window = (sparsities[-1] - sparsities[0]) / 10
    least = (max(values) - min(values)) / 10

    def fall(i: int) -> float:
        inside = [v for s, v in zip(sparsities[i:], values[i:], strict=True) if s <= sparsities[i] + window + 1e-9]
        return values[i] - min(inside)

    falls = [fall(i) for i in range(len(sparsities))]
    first = next((s for s, f in zip(sparsities, falls, strict=True) if f >= least), sparsities[-1])
    biggest = sparsities[max(range(len(falls)), key=lambda i: falls[i])]
    return {"first": first, "biggest": biggest, "fixed": FIXED}


@dataclass(frozen=True)
class Candidate:
    """A circuit that may be chosen.

    Attributes:
        name: how it came about.
        heads: its heads.
        performance: share of the model's metric above the floor.
    """

    name: str
    heads: frozenset[Head]
    performance: float


def choose(candidates: Sequence[Candidate], least: float = 0.75, largest: int | None = None) -> tuple[Candidate, bool]:
    """The smallest circuit that performs well enough and is no larger than allowed.

    If there is none, the knee of the Pareto front: the circuit farthest above the line between its ends, as in the
    released code; a front without one (of two circuits, say) gives its best performer. The smallest alone would be a
    circuit that does nothing.

    Args:
        candidates: circuits.
        least: performance that is enough.
        largest: heads that a circuit may have; None for any number.

    Returns:
        The circuit, and whether it is as small and performs as well as was asked.

    Raises:
        ValueError: without candidates.
    """
    if not candidates:
        raise ValueError("no circuit to choose from")
    order = sorted(candidates, key=lambda c: (len(c.heads), -c.performance, c.name))
    for candidate in order:
        if candidate.performance >= least and (largest is None or len(candidate.heads) <= largest):
            return candidate, True
    front: list[Candidate] = []
    for candidate in order:
        if not front or candidate.performance > front[-1].performance:
            front.append(candidate)
    knees = [c for c in front[1:-1] if _above_chord(c, front[0], front[-1]) > 0]
    if not knees:
        return front[-1], False
    return max(knees, key=lambda c: _above_chord(c, front[0], front[-1])), False


def _above_chord(candidate: Candidate, first: Candidate, last: Candidate) -> float:
    """How far a circuit lies above the line between the ends of the front, in shares of the front's height."""
    along = (len(candidate.heads) - len(first.heads)) / (len(last.heads) - len(first.heads))
    return (candidate.performance - first.performance) / (last.performance - first.performance) - along


def unions(first: Mapping[str, frozenset[Head]], second: Mapping[str, frozenset[Head]]) -> dict[str, frozenset[Head]]:
    """Every circuit of one score joined with every one of another."""
    return {f"{a}+{b}": heads | others for a, heads in first.items() for b, others in second.items()}
