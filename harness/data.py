"""Any data set, from the hub, from a mirror folder, or made by the package itself.

lm-eval reads a data set as a mapping from split to rows. Ours is lazy: a split is read when it is
asked for, so a mirror needs only the splits that a task uses.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
from PIL import Image

Rows = list[dict[str, Any]]
SUFFIXES = (".jsonl.gz", ".jsonl", ".parquet")
# Data sets that the package makes itself: path -> function of (name, split).
BUILTIN: dict[str, Callable[[str, str], Rows]] = {}


class MissingDataError(ValueError):
    """A data set or split that is not where it was looked for."""


@dataclass(frozen=True)
class DataSource:
    """Where data sets are read from.

    Attributes:
        source: ``hub`` or ``mirror``.
        root: folder of the mirror.
    """

    source: Literal["hub", "mirror"] = "hub"
    root: Path | None = None

    def __post_init__(self) -> None:
        if self.source not in ("hub", "mirror"):
            raise ValueError(f"data.source {self.source!r}: expected 'hub' or 'mirror'")
        if self.source == "mirror" and (self.root is None or not self.root.is_dir()):
            raise ValueError(f"data.root {str(self.root)!r} is not a folder; set data.root=DIR to a mirror")

    def open(
        self, path: str, name: str | None, task: str, kwargs: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """The data set ``path`` (configuration ``name``), for ``task``, as split -> `datasets.Dataset`."""
        if path in BUILTIN:
            return _Lazy(lambda split: _from_rows(BUILTIN[path](name or "default", split)), f"{path}/{name}")
        if self.source == "mirror":
            assert self.root is not None
            folder = self.root / path / (name or "default")
            return _Lazy(lambda split: _from_rows(read_rows(folder, split, path, name, task)), str(folder))
        return _hub(path, name, task, dict(kwargs or {}))


class _Lazy(Mapping[str, Any]):
    """Split -> rows, each read once, when asked for."""

    def __init__(self, load: Callable[[str], datasets.Dataset], label: str) -> None:
        self._load, self._label = load, label
        self._splits: dict[str, datasets.Dataset] = {}

    def __getitem__(self, split: str) -> datasets.Dataset:
        if split not in self._splits:
            self._splits[split] = self._load(split)
        return self._splits[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)


def _from_rows(rows: Rows) -> datasets.Dataset:
    """Rows with the columns of all of them; a value that is missing is None."""
    columns = dict.fromkeys(column for row in rows for column in row)
    return datasets.Dataset.from_dict({c: [row.get(c) for row in rows] for c in columns})


def read_rows(folder: Path, split: str, path: str, name: str | None, task: str) -> Rows:
    """The rows of one split in a mirror.

    Raises:
        MissingDataError: if no file of the split is there.
        ValueError: for a line that is not a JSON object, with file and line number.
    """
    candidates = [folder / f"{split}{suffix}" for suffix in SUFFIXES]
    file = next((c for c in candidates if c.is_file()), None)
    if file is None:
        there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        beside = f"there: {', '.join(there)}" if there else "that folder does not exist"
        raise MissingDataError(
            f"task {task}: split {split!r} of data set {path!r} (name {name or 'default'!r}) is not in the mirror; "
            f"looked for {folder}/{split}{{{','.join(SUFFIXES)}}} ({beside})"
        )
    if file.suffix == ".parquet":
        try:
            return list(datasets.Dataset.from_parquet(str(file), keep_in_memory=True))  # images as images
        except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
            raise ValueError(f"{file} is not a Parquet file: {error.__cause__ or error}") from error
    rows: Rows = []
    opener = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rt", encoding="utf-8") as handle:
            for number, line in enumerate(handle, 1):
                if line.strip():
                    rows.append(_row(line, file, number))
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: after line {len(rows)}: {error}") from error
    if not rows:
        raise ValueError(f"{file}: no rows")
    _check_types(rows, file)
    return rows


def _check_types(rows: Rows, file: Path) -> None:
    """Raises for the first value of another type than its column had before, with file and line."""
    types: dict[str, type] = {}
    for number, row in enumerate(rows, 1):
        for column, value in row.items():
            kind = float if isinstance(value, int) and not isinstance(value, bool) else type(value)
            if value is not None and types.setdefault(column, kind) is not kind:
                raise ValueError(
                    f"{file}: line {number}: column {column!r} holds a {type(value).__name__}, "
                    f"lines before it a {types[column].__name__}"
                )


def _row(line: str, file: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: line {number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{file}: line {number} is a {type(row).__name__}, expected an object")
    return row


def _hub(path: str, name: str | None, task: str, kwargs: dict[str, Any]) -> Mapping[str, Any]:
    """From the hub; where it cannot be reached the error says how to go on without it."""
    kwargs.pop("trust_remote_code", None)
    try:
        return datasets.load_dataset(path=path, name=name, **kwargs)
    except (ConnectionError, FileNotFoundError, datasets.exceptions.DatasetsError, OSError) as error:
        raise MissingDataError(
            f"task {task}: data set {path!r} (name {name or 'default'!r}) cannot be had from the hub: {error}. "
            "Without a hub: data=mirror data.root=DIR (`python -m harness.tasks.mirror` fills such a folder)."
        ) from error


def rows_digest(rows: Any) -> str:
    """SHA-256 of rows in order, independent of the file they came from."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=told, ensure_ascii=False).encode())
    return digest.hexdigest()


def told(value: Any) -> str:
    """What JSON has no word for as text that does not depend on where it lies in memory: images by their pixels."""
    if isinstance(value, Image.Image):
        return f"{value.mode}{value.size}:{hashlib.sha256(value.tobytes()).hexdigest()}"
    return str(value)
