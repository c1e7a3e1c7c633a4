"""How often a judge agrees with the labelled set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.stethoscope.levels.labelled import Example


@dataclass(frozen=True)
class Agreement:
    """A confusion matrix.

    Attributes:
        counts: kind -> how many were judged I, II, III, IV, and how many could not be judged.
        truth: kind -> its true level, 1 to 4.
    """

    counts: dict[str, tuple[int, int, int, int, int]]
    truth: dict[str, int]

    def of(self, *kinds: str) -> tuple[int, int]:
        """Examples judged right, and all, of some kinds; of none given: of all that the judge decides.

        Right answers are left out of these: the task's scorer decides them.
        """
        chosen = kinds or tuple(kind for kind, level in self.truth.items() if level != 4)
        return sum(self.counts[k][self.truth[k] - 1] for k in chosen), sum(sum(self.counts[k]) for k in chosen)


def agree(examples: Sequence[Example], judged: Sequence[int | None]) -> Agreement:
    """Counts what a judge made of each kind of example."""
    counts: dict[str, list[int]] = {}
    for example, level in zip(examples, judged, strict=True):
        row = counts.setdefault(example.kind, [0] * 5)
        row[4 if level is None else level - 1] += 1
    kinds = {example.kind: example.level for example in examples}
    return Agreement({k: (r[0], r[1], r[2], r[3], r[4]) for k, r in counts.items()}, kinds)
