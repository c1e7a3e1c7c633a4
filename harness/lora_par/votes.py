"""Votes of several teachers: the majority, and how far they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.lora_par.roles import SYSTEMS, System

TIES = (*SYSTEMS, "drop")


def majority(votes: Sequence[System | None]) -> System | None:
    """What most teachers say; None for a tie, or where none could be read."""
    counts = Counter(vote for vote in votes if vote is not None)
    one, two = (counts[system] for system in SYSTEMS)
    return None if one == two else SYSTEMS[two > one]


def settled(votes: Sequence[System | None], ties: str) -> System | None:
    """The majority, or what the rule for ties says; None for an item that is dropped."""
    assert ties in TIES, f"ties {ties!r}"
    found = majority(votes)
    if found is not None or ties == "drop":
        return found
    return SYSTEMS[ties == SYSTEMS[1]]


def fleiss_kappa(votes: Sequence[Sequence[System | None]]) -> float | None:
    """Fleiss' kappa (1971) over the items that every teacher could be read on.

    Returns:
        1 for full agreement, 0 for that of chance; None with fewer than two teachers, without such an item, or where
        all votes are for one system (then chance agrees fully too).
    """
    whole = [row for row in votes if None not in row]
    if not whole or (raters := len(whole[0])) < 2:
        return None
    counts = [[row.count(system) for system in SYSTEMS] for row in whole]
    n = len(counts)
    shares = [sum(row[i] for row in counts) / (n * raters) for i in range(len(SYSTEMS))]
    by_chance = sum(share**2 for share in shares)
    if by_chance == 1.0:
        return None
    agreed = sum(sum(c * (c - 1) for c in row) / (raters * (raters - 1)) for row in counts) / n
    return (agreed - by_chance) / (1 - by_chance)
