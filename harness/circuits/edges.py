"""Effects of paths, and the file that keeps them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.circuits.cost import Cost
from harness.circuits.nodes import Head, Receiver
from harness.files import write_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Effect:
    """What a patched path does to the metric.

    Attributes:
        mean: mean change of the metric over prompts, divided by how much corrupting the whole prompt changes it: 0 is
            no harm, -1 as much as everything, above 0 the answer gets better.
        se: its standard error over prompts.
    """

    mean: float
    se: float


Edges = Mapping[tuple[Receiver, Head], Effect]


@dataclass
class EdgeFile:
    """Effects on the disk, so that a search that was killed goes on where it was.

    The first line says what the effects are of. Then, in groups that are written at once, a line each, and a line with
    what the group cost; a group without that line was not written whole and is computed again.

    Attributes:
        path: the file.
        key: what the effects depend on.
        cost: what it took to compute them.

    Raises:
        ValueError: for a file of something else.
    """

    path: Path
    key: Mapping[str, Any]
    cost: Cost = field(default_factory=Cost)
    _known: dict[tuple[str, str], Effect] = field(default_factory=dict)

    def __post_init__(self) -> None:
        head = json.dumps({"edges_of": self.key}, sort_keys=True)
        if not self.path.is_file() or not self.path.stat().st_size:
            write_text(self.path, head + "\n")
            return
        text = self.path.read_text(encoding="utf-8")
        lines = text.splitlines()
        if lines[0] != head:
            raise ValueError(
                f"{self.path} holds effects of another model, other prompts or another metric; "
                "give another folder, or delete it"
            )
        whole, group = 1, list[list[Any]]()
        for number, line in enumerate(lines[1:], 2):
            try:
                entry = json.loads(line)
            except ValueError:
                break  # where a killed search stopped writing
            if isinstance(entry, dict):
                self._known.update({(r, s): Effect(mean, se) for r, s, mean, se in group})
                self.cost = self.cost.plus(Cost.of_record(entry["cost"]))
                whole, group = number, []
            else:
                group.append(entry)
        if whole < len(lines) or not text.endswith("\n"):
            write_text(self.path, "\n".join(lines[:whole]) + "\n")
        logger.info("%s: %d effects read", self.path, len(self._known))

    def get(self, receiver: Receiver, sender: Head) -> Effect | None:
        """A known effect."""
        return self._known.get((str(receiver), str(sender)))

    def add(self, edges: Edges, cost: Cost) -> None:
        """Appends effects that were computed together, and what that took."""
        rows: list[Any] = [[str(receiver), str(sender), e.mean, e.se] for (receiver, sender), e in edges.items()]
        lines = [json.dumps(row) for row in (*rows, {"cost": cost.record()})]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        self._known.update({(r, s): Effect(mean, se) for r, s, mean, se in rows})
