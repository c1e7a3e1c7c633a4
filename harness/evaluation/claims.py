"""Who works on what: a lock for each cell and each part, and a marker that outlives a killed worker.

The system releases the lock of a process that died; the marker it left says that it died at this work.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.evaluation.cells import CellName
from harness.evaluation.journal import ENOUGH, Journal
from harness.files import write_text

LINES = 15  # of a dead worker's log


class Claims:
    """Locks and markers below a results folder.

    Args:
        folder: the results folder.
        journal: of this session; it learns of the dead.
        log: this process's log file.
    """

    def __init__(self, folder: Path, journal: Journal, log: Path | None = None) -> None:
        self._folder, self._journal, self._log = folder / ".locks", journal, log

    @contextmanager
    def claim(self, cell: CellName, key: str, wait: bool = False) -> Iterator[bool]:
        """Holds a lock for the length of the block; the block is told whether it was free.

        Args:
            cell: the cell.
            key: what of it: file name of the lock.
            wait: wait until it is free.

        Raises:
            ValueError: if the cell has killed too many workers of this session.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / f"{key}.lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        try:
            marker = self._folder / f"{key}.working"
            self._bury(cell, marker)
            self._check(cell)
            write_text(marker, json.dumps(self._self()))
            try:
                yield True
            finally:
                marker.unlink(missing_ok=True)
        finally:
            lock.release()

    def _self(self) -> dict[str, str | int]:
        log = str(self._log) if self._log else ""
        return {"session": self._journal.session, "host": socket.gethostname(), "pid": os.getpid(), "log": log}

    def _bury(self, cell: CellName, marker: Path) -> None:
        """Notes the death of whoever held the lock before and did not come to its end."""
        if not marker.is_file():
            return
        try:
            dead = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError:
            dead = None
        # Deaths of earlier sessions (a kill of all, a power cut) say nothing of the cell.
        if isinstance(dead, dict) and dead.get("session") == self._journal.session:
            who, log = f"process {dead.get('pid')} on {dead.get('host')}", dead.get("log")
            self._journal.note(cell, "died", f"{who}:\n{last_lines(Path(log))}" if log else who)
        marker.unlink(missing_ok=True)

    def _check(self, cell: CellName) -> None:
        deaths = self._journal.deaths(cell)
        if len(deaths) >= ENOUGH:
            raise ValueError(
                f"cell {cell} killed {len(deaths)} workers and is not tried again in this session. "
                f"The last one was {deaths[-1]}"
            )


def last_lines(log: Path, n: int = LINES) -> str:
    """The end of a log, as far as there is one."""
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=n)).rstrip()
    except OSError as error:
        return f"(its log cannot be read: {error})"
