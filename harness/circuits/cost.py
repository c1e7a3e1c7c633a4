"""What was computed: floating-point operations by pass and layer, counted from the shapes that were multiplied."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Cost:
    """A running count; a multiply and an add are two operations.

    Attributes:
        flops: (pass, layer) -> operations; the layer behind the last one is the head. Passes: ``trace`` is a whole
            forward, ``frozen`` a sender's pass with all other heads held, ``effect`` a receiver's to the logits,
            ``ablated`` a forward with a circuit's other heads replaced, ``backward`` a gradient.
        passes: pass -> how often one was made, over all prompts of a set.
        seconds: wall time.
    """

    flops: Counter[tuple[str, int]] = field(default_factory=Counter)
    passes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def total_flops(self) -> int:
        """All operations."""
        return sum(self.flops.values())

    @property
    def total_passes(self) -> int:
        """All passes, also those that start in the middle of the model."""
        return sum(self.passes.values())

    def add(self, name: str, layer: int, flops: int) -> None:
        """Counts operations."""
        self.flops[name, layer] += flops

    def plus(self, other: Cost) -> Cost:
        """Both together."""
        return Cost(self.flops + other.flops, self.passes + other.passes, self.seconds + other.seconds)

    def record(self) -> dict[str, Any]:
        """As JSON."""
        layers: dict[str, dict[str, int]] = {}
        for (name, layer), flops in sorted(self.flops.items()):
            layers.setdefault(name, {})[str(layer)] = flops
        return {"passes": dict(self.passes), "flops": layers, "seconds": round(self.seconds, 3)}

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Cost:
        """From JSON."""
        flops = Counter(
            {(name, int(layer)): n for name, layers in record["flops"].items() for layer, n in layers.items()}
        )
        return cls(flops, Counter(record["passes"]), float(record["seconds"]))
