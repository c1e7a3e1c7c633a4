"""What may stand in ``conf/variant/``: one dataclass a method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class Rule:
    """What a merge takes from the donor: ``factor`` 1 replaces, less interpolates."""

    parts: list[str] = MISSING
    layers: Any = None
    bias: bool = True
    factor: float = 1.0


@dataclass
class BaseVariant:
    """The base itself."""

    method: str = "base"


@dataclass
class MergeVariant:
    """Parts of a donor in the base (Stethoscope for Networks, section 2.2).

    Attributes:
        donor: name, path or hub id.
        parts: parts or groups of parts; ``-x`` takes x away again.
        layers: half-open range(s) in quotes, e.g. "0:2"; null for all.
        bias: take biases too.
        factor: 0 is the base, 1 the donor.
        rules: a list of such rules in place of the four keys above.
        untie: give head and embedding tensors of their own first.
    """

    method: str = "merge"
    donor: str | None = None
    parts: list[str] = field(default_factory=list)
    layers: Any = None
    bias: bool = True
    factor: float = 1.0
    rules: list[Rule] = field(default_factory=list)
    untie: bool = False


@dataclass
class DestroyVariant:
    """Parts zeroed, drawn anew or layers removed (Stethoscope for Networks, section 3).

    Attributes:
        mode: ``zero``, ``reinit`` (N(0, std)) or ``remove`` (whole layers).
        parts: as in merge; empty for ``remove``.
        layers: as in merge.
        bias: destroy biases too.
        std: standard deviation of ``reinit``.
        seed: seed of ``reinit``.
    """

    method: str = "destroy"
    mode: str = "zero"
    parts: list[str] = field(default_factory=list)
    layers: Any = None
    bias: bool = True
    std: float = 0.02
    seed: int = 0


@dataclass
class CheckpointVariant:
    """Another checkpoint of the same architecture: every tensor replaced."""

    method: str = "checkpoint"
    source: str | None = None
    untie: bool = False


@dataclass
class ComposedVariant:
    """Variants in sequence; each is built on the model that the ones before it made."""

    method: str = "composed"
    steps: list[Any] = field(default_factory=list)


DESTROY_MODES = ("zero", "reinit", "remove")
VARIANTS: dict[str, type] = {
    "base": BaseVariant,
    "merge": MergeVariant,
    "destroy": DestroyVariant,
    "checkpoint": CheckpointVariant,
    "composed": ComposedVariant,
}
