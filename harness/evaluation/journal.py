"""What a session's workers tell each other: cells that are done, failed, or killed their worker."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from harness.evaluation.cells import CellName

# The last three are for who watches: all cells with their estimated seconds, a part begun, a part finished.
State = Literal["done", "failed", "died", "grid", "running", "part"]
ENOUGH = 2  # workers that one cell may kill


@dataclass(frozen=True)
class Entry:
    """One event.

    Attributes:
        cell: the cell's name as text.
        state: what became of it.
        text: the error, or the last lines of the log of the worker that died; of what is watched, JSON.
        time: seconds since the epoch.
    """

    cell: str
    state: State
    text: str = ""
    time: float = 0.0


class Journal:
    """Events of one session, appended line by line by all of its processes."""

    def __init__(self, folder: Path, session: str) -> None:
        self.session = session
        self._file = folder / ".sessions" / f"{session}.jsonl"

    def note(self, cell: CellName | str, state: State, text: str = "") -> None:
        """Adds an event."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # A line that a full disk cut off must not swallow this one.
        line = "\n" + json.dumps(asdict(Entry(str(cell), state, text, time.time()))) + "\n"
        # One write of a line in append mode: lines of several processes do not mix.
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def entries(self) -> list[Entry]:
        """All events so far; a line that a full disk or a kill cut off is left out."""
        if not self._file.is_file():
            return []
        out = []
        for line in self._file.read_text(encoding="utf-8").split("\n"):
            try:
                out.append(Entry(**json.loads(line)))
            except (ValueError, TypeError):
                continue
        return out

    def settled(self, cell: CellName) -> bool:
        """Nobody needs to help with the cell: it is done, or failed for good."""
        own = [entry.state for entry in self.entries() if entry.cell == str(cell)]
        return "done" in own or "failed" in own or own.count("died") >= ENOUGH

    def deaths(self, cell: CellName) -> list[str]:
        """What the logs said last of each worker that died at the cell."""
        return [entry.text for entry in self.entries() if entry.cell == str(cell) and entry.state == "died"]

    def close(self) -> None:
        """Removes the journal: the session is over."""
        self._file.unlink(missing_ok=True)
