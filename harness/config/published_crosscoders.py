"""What a paper says of its crosscoders, to stand beside the measured ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class PublishedCrosscoder:
    """One row of a table of crosscoders.

    Attributes:
        models: the models that share the code, as the paper names them.
        kind: ``l1`` or ``batch_topk``.
        l0: latents on at a token.
        dead: latents that never fire.
        increase: what the reconstruction costs each model, in nats a token.
    """

    models: list[str] = MISSING
    kind: str = "l1"
    l0: float | None = None
    dead: float | None = None
    increase: list[float] = field(default_factory=list)


@dataclass
class PublishedCrosscoders:
    """A table's block of one training.

    Attributes:
        source: paper and table.
        latents: of each code.
        note: what a reader has to know of the numbers.
        rows: its rows.
    """

    source: str = MISSING
    latents: int = MISSING
    note: str = ""
    rows: list[PublishedCrosscoder] = field(default_factory=list)
