"""In what order cells run, and into how many parts each is cut.

The longest come first, model by model, so that what is left at the end is small; estimates are the
times of earlier cells of the same task. A cell that would keep one worker busy while others wait is cut.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from harness.evaluation.cells import CellName
from harness.evaluation.grid import PlannedCell
from harness.evaluation.store import Store

SLACK = 1.05  # the last worker may end so much later than all would if work were sand
SHORT = 5.0  # seconds; shorter parts are not worth a cut
LONG = 600.0  # seconds; a part that is cut off costs no more
MOST = 256
# Seconds for a task that has never been timed: only their ratio matters.
GUESS_TEXTS, GUESS_CHOICES = 60.0, 15.0


@dataclass(frozen=True)
class Timing:
    """How long a cell took in one process.

    Attributes:
        name: the cell.
        seconds: of all its parts together.
        limit: documents a subtask that it was asked for.
    """

    name: CellName
    seconds: float
    limit: int | None

    def under(self, limit: int | None) -> float:
        """Seconds that it would have taken with this limit."""
        return self.seconds * (limit / self.limit if limit and self.limit else 1.0)


@dataclass(frozen=True)
class Schedule:
    """What a session's processes have to agree on.

    Attributes:
        order: the cells, in the order they are handed out.
        parts: into how many parts each is cut.
    """

    order: tuple[PlannedCell, ...]
    parts: Mapping[CellName, int]


def timings_of(store: Store) -> list[Timing]:
    """What stored cells took."""
    return [Timing(r.name, r.seconds, r.identity.get("limit")) for r in store.readable(outcomes=False)[0]]


def schedule(cells: Sequence[PlannedCell], limit: int | None, workers: int, timings: Sequence[Timing] = ()) -> Schedule:
    """Plans a session.

    Args:
        cells: the cells that will run.
        limit: documents a subtask.
        workers: processes that share the cells.
        timings: of earlier cells, to learn from.
    """
    seconds = [estimate_seconds(cell, limit, timings) for cell in cells]
    order = list(range(len(cells)))
    if workers > 1:
        models = list(dict.fromkeys(cell.model for cell in cells))
        order.sort(key=lambda i: (models.index(cells[i].model), -seconds[i], i))
    parts = dict(zip((cell.name for cell in cells), cuts(seconds, workers), strict=True))
    return Schedule(tuple(cells[i] for i in order), parts)


def cuts(seconds: Sequence[float], workers: int) -> list[int]:
    """Into how many parts to cut cells of these lengths: as few as let all workers end at about one time."""
    parts = [min(MOST, math.ceil(s / LONG)) or 1 for s in seconds]
    if workers == 1 or not seconds:
        return parts
    share = sum(seconds) / workers
    shortest = min(SHORT, share)
    while True:
        pieces = sorted((s / n for s, n in zip(seconds, parts, strict=True) for _ in range(n)), reverse=True)
        if makespan(pieces, workers) <= SLACK * share:
            return parts
        i = max(range(len(seconds)), key=lambda i: seconds[i] / parts[i])
        if seconds[i] / (parts[i] + 1) < 0.99 * shortest or parts[i] >= MOST:
            return parts
        parts[i] += 1


def estimate_seconds(cell: PlannedCell, limit: int | None, timings: Sequence[Timing]) -> float:
    """Seconds that a cell will take in one process: as the closest that there is took."""
    alike = [t for t in timings if t.name.task == cell.name.task]
    own = [t for t in alike if t.name == cell.name]
    same_model = [t for t in alike if t.name.model == cell.name.model]
    for near in (own, same_model, alike):
        if near:
            return median(t.under(limit) for t in near)
    guess = GUESS_CHOICES if cell.task.metric.startswith("acc") else GUESS_TEXTS
    return guess * cell.task.repeats


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Seconds until the last of some jobs is done, each given to the first worker that is free."""
    free = [0.0] * workers
    for job in seconds:
        heapq.heapreplace(free, free[0] + job)
    return max(free)
