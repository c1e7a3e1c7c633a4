"""The live view of a running grid: cells done, what runs on which device, documents a second, time left.

It reads what the session's processes write to the session's journal, so that it sees every worker. In another terminal:
``python -m harness.live DIR`` watches whatever runs in a results folder.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.evaluation.journal import ENOUGH, Entry, Journal


@dataclass(frozen=True)
class Running:
    """A part of a cell that a process works on.

    Attributes:
        cell: the cell.
        worker: the process.
        device: where its model is.
        documents: of the part.
        since: seconds.
    """

    cell: str
    worker: str
    device: str
    documents: int
    since: float


@dataclass(frozen=True)
class Progress:
    """How far a session is.

    Attributes:
        done: cells that are stored.
        failed: cells that have no result.
        total: cells of the session.
        running: what is worked on, the oldest first.
        rate: documents a second since the first part began; None before one is finished.
        left: seconds that the rest will take; None before anything is known.
    """

    done: int
    failed: int
    total: int
    running: tuple[Running, ...]
    rate: float | None
    left: float | None


def progress_of(entries: Sequence[Entry], now: float) -> Progress:
    """What the journal of a session says at a time.

    The time left is that of the cells which are not finished, as earlier cells of their kind took, times what the
    finished ones took against the same estimate.
    """
    estimates: dict[str, float] = {}
    done: set[str] = set()
    failed: dict[str, int] = {}
    running: dict[str, Running] = {}
    documents, first, last, worked = 0, None, 0.0, set()
    for entry in entries:
        if entry.state == "grid":
            estimates.update(_estimates(entry.text))
        elif entry.state == "running":
            worker, device, count = _told(entry.text)
            first = entry.time if first is None else first
            worked.add(entry.cell)
            running[worker] = Running(entry.cell, worker, device, count, now - entry.time)
        elif entry.state == "part":
            worker, _, count = _told(entry.text)
            documents, last = documents + count, entry.time
            running.pop(worker, None)
        elif entry.state == "done":
            done.add(entry.cell)
        else:
            failed[entry.cell] = failed.get(entry.cell, 0) + (ENOUGH if entry.state == "failed" else 1)
    lost = {cell for cell, times in failed.items() if times >= ENOUGH and cell not in done}
    running = {w: r for w, r in running.items() if r.cell not in done | lost}
    # While nothing runs (cells are stored, answers judged) nothing is slow either.
    elapsed = None if first is None else (now if running else last) - first
    known = sum(estimates.get(cell, 0.0) for cell in worked & done)
    rest = sum(seconds for cell, seconds in estimates.items() if cell not in done | lost)
    left = rest * elapsed / known if elapsed and known else None
    rate = documents / elapsed if documents and elapsed else None
    ours = [cell for cell in done | lost if cell in estimates]
    oldest = tuple(sorted(running.values(), key=lambda r: -r.since))
    return Progress(len([c for c in ours if c in done]), len(lost & set(ours)), len(estimates), oldest, rate, left)


def _estimates(text: str) -> dict[str, float]:
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def _told(text: str) -> tuple[str, str, int]:
    try:
        worker, device, documents = json.loads(text)
        return str(worker), str(device), int(documents)
    except (ValueError, TypeError):
        return "?", "?", 0


def is_wanted(asked: bool | None, stream: Any, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether to show the view: as asked, else where a person watches a terminal and no CI runs."""
    if asked is not None:
        return asked
    return bool(getattr(stream, "isatty", lambda: False)()) and not environment.get("CI") and not _is_dumb(environment)


def _is_dumb(environment: Mapping[str, str]) -> bool:
    return environment.get("TERM", "") in ("", "dumb")


def render(progress: Progress) -> RenderableType:
    """What the terminal shows."""
    words = [f"{progress.done} of {progress.total} cells"]
    words += [f"{progress.failed} failed"] if progress.failed else []
    words += [f"{progress.rate:.1f} documents/s"] if progress.rate is not None else []
    words += [f"about {clock(progress.left)} left"] if progress.left is not None else []
    bar = ProgressBar(total=max(1, progress.total), completed=progress.done + progress.failed, width=30)
    head = Table.grid(padding=(0, 1))
    head.add_row(bar, Text(" · ".join(words), style="bold"))
    table = Table.grid(padding=(0, 2))
    for r in progress.running:
        table.add_row(
            Text(r.worker), Text(r.device), Text(r.cell), Text(f"{r.documents:,} documents"), Text(clock(r.since))
        )
    return Group(head, table) if progress.running else head


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class LiveView:
    """Shows a session's progress below what is printed, until it is stopped.

    Args:
        journal: of the session.
        estimates: cell -> seconds it is expected to take; written to the journal for who watches from elsewhere. None
            where another process wrote them.
        stream: the terminal; None for standard output.
    """

    def __init__(self, journal: Journal, estimates: Mapping[str, float] | None, stream: IO[str] | None = None) -> None:
        self._journal = journal
        if estimates is not None:
            journal.note("", "grid", json.dumps(dict(estimates)))
        self.console = Console(file=stream, force_terminal=True) if stream is not None else Console()
        self._live = Live(
            get_renderable=self._now, console=self.console, refresh_per_second=2, transient=True, redirect_stderr=False
        )

    def _now(self) -> RenderableType:
        return render(progress_of(self._journal.entries(), time.time()))

    def start(self) -> None:
        """Begins to show it."""
        self._live.start()

    def stop(self) -> None:
        """Takes it away; harmless when repeated."""
        self._live.stop()


def main(arguments: list[str] | None = None) -> int:
    """Watches the newest session of a results folder until it ends; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or given[0] in ("-h", "--help"):
        print("python -m harness.live DIR: what runs in a results folder, until it is over (Ctrl-C stops watching)")
        return 0 if given and given[0] in ("-h", "--help") else 2
    sessions = sorted((Path(given[0]) / ".sessions").glob("*.jsonl"), key=lambda p: p.stat().st_mtime)
    if not sessions:
        print(f"nothing runs in {given[0]}", file=sys.stderr)
        return 1
    view = LiveView(Journal(Path(given[0]), sessions[-1].stem), None)
    view.start()
    try:
        while sessions[-1].is_file():
            time.sleep(0.5)
    except KeyboardInterrupt:
        pass
    finally:
        view.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
