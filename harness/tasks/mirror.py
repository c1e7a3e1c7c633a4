"""``python -m harness.tasks.mirror --tasks gsm8k,mmlu --out DIR``: fills a mirror folder from the hub.

Each task is loaded as a run would load it; the splits that it reads are the ones that are written.
Take the folder to a machine without a hub and run there with ``data=mirror data.root=DIR``.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config.compose import compose_task, expand_tasks
from harness.data import BUILTIN, SUFFIXES, DataSource
from harness.files import atomic_write
from harness.sandbox import Execution
from harness.tasks.load import load_task
from harness.tasks.questions import training_split


class _Recorded(Mapping[str, Any]):
    """A data set that notes which of its splits are read."""

    def __init__(self, splits: Mapping[str, Any]) -> None:
        self._splits = splits
        self.read: dict[str, Any] = {}

    def __getitem__(self, split: str) -> Any:
        self.read[split] = self._splits[split]
        return self.read[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)


class RecordingSource(DataSource):
    """The hub, with a note of what was read from it."""

    def open(
        self, path: str, name: str | None, task: str, kwargs: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """As `DataSource.open`, recorded."""
        recorded = _Recorded(super().open(path, name, task, kwargs))
        if path not in BUILTIN:
            self.opened.append((path, name, recorded))
        return recorded

    @property
    def opened(self) -> list[tuple[str, str | None, _Recorded]]:
        """Data sets in the order they were opened."""
        return self.__dict__.setdefault("_opened", [])


class _NoSandbox:
    """Stands where a sandbox has to stand; filling a mirror runs no programs."""

    name = "none"

    def run(self, program: str, tests: str = "") -> Execution:
        raise AssertionError("no program runs while a mirror is filled")


def fill(tasks: Sequence[str], out: Path, training: bool = False) -> list[Path]:
    """Writes the splits that the tasks read; files that exist already are kept.

    Args:
        tasks: names of tasks or suites.
        out: folder of the mirror.
        training: write also what variants learn from, where the task has that.

    Returns:
        The files that were written.

    Raises:
        ValueError: if a task is unknown or its data cannot be had.
    """
    written = []
    for task in expand_tasks(tasks):
        source = RecordingSource("hub")
        loaded = load_task(task, compose_task(task, {})[0], source, _NoSandbox())
        if training:
            for subtask in loaded.subtasks.values():
                training_split(loaded, subtask)
        for path, name, recorded in source.opened:
            for split, rows in recorded.read.items():
                folder = out / path / (name or "default")
                if any((folder / f"{split}{suffix}").exists() for suffix in SUFFIXES):
                    continue
                # Images have no form in JSON.
                seen = "Image(" in str(getattr(rows, "features", ""))
                written.append(folder / f"{split}{'.parquet' if seen else '.jsonl.gz'}")
                (_write_parquet if seen else _write)(written[-1], rows)
    return written


def _write_parquet(file: Path, rows: Any) -> None:
    with atomic_write(file) as handle:
        rows.to_parquet(handle.buffer)


def _write(file: Path, rows: Any) -> None:
    """Gzipped JSON lines under a temporary name, then renamed; the same rows give the same bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".tmp")
    try:
        with (
            os.fdopen(handle, "wb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed,
            io.TextIOWrapper(packed, encoding="utf-8") as text,
        ):
            for row in rows:
                text.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m harness.tasks.mirror", description=__doc__)
    parser.add_argument("--tasks", required=True, help="tasks or suites, with commas")
    parser.add_argument("--training", action="store_true", help="what variants learn from as well")
    parser.add_argument("--out", type=Path, required=True, help="folder of the mirror")
    args = parser.parse_args(arguments)
    try:
        written = fill([t.strip() for t in args.tasks.split(",") if t.strip()], args.out, args.training)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for file in written:
        print(file)
    print(f"{len(written)} files written below {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
