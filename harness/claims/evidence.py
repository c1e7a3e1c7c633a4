"""What decides one part of a claim."""

from __future__ import annotations

from dataclasses import dataclass

from harness.statistics import Comparison


class MissingError(ValueError):
    """Something that a claim needs was not measured yet."""


@dataclass(frozen=True)
class Evidence:
    """One difference.

    Attributes:
        about: what was compared, in words.
        comparison: the difference with interval and test.
        exact: it was counted, not sampled: the difference is what it is, and needs no test.
        unit: of the difference: ``points`` (a share), or a word.
        of: what ``n`` counts.
        shrinks: more of them make the error smaller; controls show how the others lie, however many there are.
    """

    about: str
    comparison: Comparison
    exact: bool = False
    unit: str = "points"
    of: str = "documents"
    shrinks: bool = True
