"""What a paper says of its circuits, to stand beside the measured ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class PublishedCircuit:
    """One cell of a table of circuits.

    Attributes:
        task: our name of the task.
        method: our name of the method.
        performance: metric of the circuit over that of the model; 1 is all of it.
        size: heads.
        tpr: share of path patching's heads that it has; null where the paper gives none.
        precision: share of its heads that path patching's circuit has.
        ratio: times fewer FLOPs of APP, its hybrid circuit included, than of path patching.
    """

    task: str = MISSING
    method: str = MISSING
    performance: float | None = None
    size: int | None = None
    tpr: float | None = None
    precision: float | None = None
    ratio: float | None = None


@dataclass
class PublishedCircuits:
    """A table's block of one model.

    Attributes:
        source: paper and table.
        model: our name of the model.
        heads: heads of the model.
        note: what a reader has to know of the numbers.
        rows: its cells.
    """

    source: str = MISSING
    model: str = MISSING
    heads: int = MISSING
    note: str = ""
    rows: list[PublishedCircuit] = field(default_factory=list)
