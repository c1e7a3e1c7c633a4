"""Corrections for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

ADJUSTMENTS = ("holm", "bh")


def adjust(ps: Sequence[float], by: str = "holm") -> list[float]:
    """Adjusted p-values, in the order given.

    Args:
        ps: p-values of all comparisons.
        by: ``holm`` bounds the chance of any false finding, ``bh`` the expected share of false ones among the findings.

    Raises:
        ValueError: for another name.
    """
    if by not in ADJUSTMENTS:
        raise ValueError(f"unknown correction {by!r}; known: {', '.join(ADJUSTMENTS)}")
    return holm(ps) if by == "holm" else benjamini_hochberg(ps)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979): the chance of any false finding stays below the level."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, running = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = running
    return adjusted


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """Benjamini & Hochberg's (1995): of the findings, the expected share that is false stays below the level."""
    return [float(p) for p in stats.false_discovery_control(ps)] if len(ps) else []
