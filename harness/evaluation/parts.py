"""Parts of a cell: a stretch of its documents each, finished and stored one by one.

Several workers share a large cell out among them, and a cell that was cut off goes on where it was.
The cut is made once and stays: a session with more workers takes what an earlier one left.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.evaluation.asked import Asked
from harness.evaluation.cells import Outcome, check_types
from harness.files import atomic_write, write_text

FORMAT = 1
LEAST = 8  # documents of a part


@dataclass(frozen=True)
class Part:
    """Documents ``[start, stop)`` of a cell, counted through its subtasks.

    Attributes:
        number: which part it is, from 0.
        start: first document.
        stop: behind the last one.
    """

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Share:
    """A part that has been evaluated.

    Attributes:
        part: which.
        outcomes: of its documents.
        counts: tokens, requests, what was clipped.
        seconds: wall-clock time.
        routing: what pass one of a variant that adapts took and found.
        asked: the documents in words; kept beside the cells, not with the part.
    """

    part: Part
    outcomes: list[Outcome]
    counts: dict[str, int]
    seconds: float
    routing: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)


def cut(documents: int, parts: int) -> list[Part]:
    """Parts of about one size, of at least `LEAST` documents.

    Args:
        documents: of the cell.
        parts: how many at most.
    """
    n = max(1, min(parts, documents // LEAST))
    bounds = [documents * i // n for i in range(n + 1)]
    return [Part(i, bounds[i], bounds[i + 1]) for i in range(n)]


class PartStore:
    """The finished parts of one cell; the caller holds the lock of what it writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def cut(self, documents: int, parts: int) -> list[Part]:
        """The cell's parts: as they were cut before, else cut now."""
        file = self.folder / "cut.json"
        if file.is_file():
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                content = json.loads(file.read_text(encoding="utf-8"))
                if (content["format"], content["documents"]) == (FORMAT, documents):
                    return [Part(*map(int, bounds)) for bounds in content["parts"]]
            self.clear()
        made = cut(documents, parts)
        bounds = [(p.number, p.start, p.stop) for p in made]
        write_text(file, json.dumps({"format": FORMAT, "documents": documents, "parts": bounds}))
        return made

    def get(self, part: Part) -> Share | None:
        """A part that was finished, or None; one that cannot be read counts as none."""
        file = self._file(part)
        if not file.is_file():
            return None
        try:
            # Not splitlines: an answer may hold any of Unicode's line separators.
            head, *lines = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
            content = json.loads(head)
            outcomes = [Outcome(**json.loads(line)) for line in lines]
            for outcome in outcomes:
                check_types(outcome)
            return Share(part, outcomes, dict(content["counts"]), float(content["seconds"]), content.get("routing", {}))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def put(self, share: Share) -> None:
        """Stores a finished part."""
        with atomic_write(self._file(share.part)) as file:
            file.write(json.dumps({"counts": share.counts, "seconds": share.seconds, "routing": share.routing}) + "\n")
            for outcome in share.outcomes:
                file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")

    def clear(self) -> None:
        """Removes everything: the cell is stored, or its documents are others."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, part: Part) -> Path:
        return self.folder / f"{part.start:06d}-{part.stop:06d}.jsonl"
