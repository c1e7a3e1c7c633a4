"""What comparisons say: gain, regression or unresolved; of a statement, supported, contradicted or unresolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.statistics.estimates import ALPHA, POWER
from harness.statistics.multiple import adjust
from harness.statistics.paired import Comparison
from harness.statistics.power import needed

Found = Literal["gain", "regression", "unresolved"]
DIRECTIONS = ("above", "below", "not_below", "not_above", "alike")


def resolve(comparisons: Sequence[Comparison], by: str = "holm") -> list[tuple[float, Found]]:
    """The adjusted p-value of each comparison of a table, and what it shows.

    Test and interval must agree: the test is adjusted over all comparisons, the interval knows of clusters.

    Args:
        comparisons: all of them.
        by: correction, one of `ADJUSTMENTS`.
    """
    out: list[tuple[float, Found]] = []
    for c, p in zip(comparisons, adjust([c.p for c in comparisons], by), strict=True):
        if p < ALPHA and c.difference.low > 0:
            out.append((p, "gain"))
        elif p < ALPHA and c.difference.high < 0:
            out.append((p, "regression"))
        else:
            out.append((p, "unresolved"))
    return out


@dataclass(frozen=True)
class Judgement:
    """What a comparison says of a statement.

    Attributes:
        verdict: ``supported``, ``contradicted`` or ``unresolved``.
        p: p-value against the opposite of the statement; small where the statement is supported.
        p_against: p-value against the statement; small where it is contradicted.
        needed: documents that would resolve a difference as large as the one that was seen; None where none would, or
            it is resolved.
    """

    verdict: str
    p: float
    p_against: float
    needed: int | None


def judge(
    comparison: Comparison, direction: str, margin: float = 0.0, level: float = ALPHA, power: float = POWER
) -> Judgement:
    """Judges a statement about a difference, by its interval and its test together.

    ``above``: the difference exceeds ``margin``. ``below``: it is less than ``-margin``. ``not_below``: it exceeds
    ``-margin`` (non-inferiority). ``not_above``: it is less than ``margin``. ``alike``: both of these (equivalence by
    two one-sided tests). A statement is supported if the whole interval and the test say so, contradicted if they say
    its opposite, else unresolved: what is merely not significant supports nothing.

    Args:
        comparison: the difference.
        direction: one of `DIRECTIONS`.
        margin: in units of the difference, not negative.
        level: what p must stay below, two-sided; less than 0.05 where several statements are judged together.
        power: with which as many documents as are said to be needed would resolve it.

    Raises:
        ValueError: for another direction, a negative margin, or ``alike`` without a margin.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"unknown direction {direction!r}; known: {', '.join(DIRECTIONS)}")
    if margin < 0 or (direction == "alike" and margin == 0):
        least = "above" if direction == "alike" else "of at least"
        raise ValueError(f"margin {margin:g}: {direction} needs one {least} 0")
    if direction == "alike":
        # Both must be supported: each with half the chance of missing it.
        both = 1 - (1 - power) / 2
        parts = [judge(comparison, kind, margin, level, both) for kind in ("not_below", "not_above")]
        p, against = max(x.p for x in parts), min(x.p_against for x in parts)
        verdicts = {x.verdict for x in parts}
        verdict = next((v for v in ("contradicted", "unresolved") if v in verdicts), "supported")
        counts = [x.needed for x in parts if x.verdict == "unresolved"]
        wanted = None if verdict != "unresolved" or None in counts else max(n for n in counts if n is not None)
        return Judgement(verdict, p, against, wanted)
    bound = margin if direction in ("above", "not_above") else -margin
    up = direction in ("above", "not_below")
    d, p = comparison.difference, comparison.p_beyond(bound)
    higher = d.value > bound
    # Two-sided throughout: a statement is put to the same test as its opposite.
    for_it, against = (p, 1.0) if higher == up else (1.0, p)
    whole_above, whole_below = d.low > bound, d.high < bound
    clear, opposite = (whole_above, whole_below) if up else (whole_below, whole_above)
    if clear and for_it < level:
        return Judgement("supported", for_it, against, None)
    if opposite and against < level:
        return Judgement("contradicted", for_it, against, None)
    return Judgement("unresolved", for_it, against, needed(comparison, bound, level, power))
