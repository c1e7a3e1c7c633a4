"""The results folder: one JSON and one JSONL a cell, each whole or absent.

``DIR/cells/<model>/<variant>/<task>.json`` holds scores and identity, the ``.jsonl`` beside it the
outcomes by document. The JSON is written last: a cell is there when its JSON is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.evaluation.cells import FORMAT, CellName, CellResult, Outcome, check_types, file_name
from harness.files import atomic_write, write_text


@dataclass(frozen=True)
class Failure:
    """A cell that has no result.

    Attributes:
        name: which cell.
        text: what went wrong.
        command: what asked for it.
        when: UTC time, ISO format.
    """

    name: CellName
    text: str
    command: str
    when: str


class Store:
    """Cells of one results folder.

    Args:
        folder: the folder.
        keep: outcomes that were read stay in memory, for who only reads, and more than once.
    """

    def __init__(self, folder: Path, keep: bool = False) -> None:
        self.folder = folder
        self._kept: dict[CellName, list[Outcome]] | None = {} if keep else None

    def path(self, name: CellName) -> Path:
        """Where a cell's JSON lies."""
        return self.folder / "cells" / file_name(name.model) / file_name(name.variant) / f"{file_name(name.task)}.json"

    def get(self, name: CellName) -> CellResult | None:
        """A stored cell, or None; without its outcomes it is none.

        Raises:
            ValueError: if the file is damaged or of another format, or its outcomes are not those it was stored with.
        """
        path = self.path(name)
        result = _read(path) if path.is_file() else None
        return result if path.with_suffix(".jsonl").is_file() else None

    def read(self, path: Path) -> CellResult:
        """The cell that lies in a file.

        Raises:
            ValueError: as `get`.
        """
        return _read(path)

    def put(self, result: CellResult, outcomes: Sequence[Outcome]) -> Path:
        """Stores a cell; one with another identity in its place is moved to ``DIR/replaced/`` first."""
        path = self.path(result.name)
        if path.is_file():
            self._set_aside(path)
        digest = hashlib.sha256()
        with atomic_write(path.with_suffix(".jsonl")) as file:
            for outcome in outcomes:
                line = json.dumps(asdict(outcome), ensure_ascii=False) + "\n"
                digest.update(line.encode())
                file.write(line)
        result = replace(result, outcomes=digest.hexdigest())
        write_text(path, json.dumps({"format": FORMAT, **asdict(result)}, indent=1, ensure_ascii=False) + "\n")
        return path

    def forget_failure(self, name: CellName) -> None:
        """The cell has a result."""
        self._failure(name).unlink(missing_ok=True)

    def put_failure(self, name: CellName, text: str, command: str) -> None:
        """Notes why a cell has no result; gone when it gets one."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        failure = Failure(name, text, command, now)
        write_text(self._failure(name), json.dumps(asdict(failure), indent=1, ensure_ascii=False) + "\n")

    def failures(self) -> list[Failure]:
        """Cells that failed when they were last run."""
        out = []
        for path in sorted((self.folder / "failed").glob("*/*/*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                out.append(Failure(**{**content, "name": CellName(**content["name"])}))
                check_types(out[-1])
                check_types(out[-1].name)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{path} is not a stored failure: {error}. Delete it.") from error
        return out

    def _failure(self, name: CellName) -> Path:
        return self.folder / "failed" / self.path(name).relative_to(self.folder / "cells")

    def _set_aside(self, path: Path) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        target = self.folder / "replaced" / f"{stamp}-{os.getpid()}" / path.relative_to(self.folder / "cells")
        target.parent.mkdir(parents=True, exist_ok=True)
        # A cell is there as long as its JSON is: that goes last.
        for file in (path.with_suffix(".jsonl"), path):
            if file.is_file():
                os.replace(file, target.with_suffix(file.suffix))

    def outcomes(self, name: CellName) -> list[Outcome]:
        """The outcomes of a stored cell.

        Raises:
            ValueError: if the file is missing or a line is damaged.
        """
        if self._kept is not None and name in self._kept:
            return self._kept[name]
        path = self.path(name).with_suffix(".jsonl")
        if not path.is_file():
            raise ValueError(f"{path}: the outcomes of cell {name} are missing; run the cell again with fresh=true")
        out = []
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    out.append(Outcome(**json.loads(line)))
                    check_types(out[-1])
                except (ValueError, TypeError, RecursionError) as error:
                    raise ValueError(f"{path}: line {number} is not an outcome: {error}") from error
        if self._kept is not None:
            self._kept[name] = out
        return out

    def readable(self, outcomes: bool = True) -> tuple[list[CellResult], list[str]]:
        """All cells that can be read (``outcomes``: these too), and for each of the others what is wrong with it."""
        results, problems = [], []
        for path in sorted((self.folder / "cells").glob("*/*/*.json")):
            try:
                result = _read(path)
                if outcomes:
                    self.outcomes(result.name)
            except ValueError as error:
                problems.append(str(error))
            else:
                results.append(result)
        return results, problems

    def __iter__(self) -> Iterator[CellResult]:
        """All stored cells, sorted by path."""
        for path in sorted((self.folder / "cells").glob("*/*/*.json")):
            yield _read(path)


def _check_outcomes(path: Path, result: CellResult) -> None:
    """Raises if the outcomes are there and are others than those that were stored."""
    if result.outcomes and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != result.outcomes:
        raise ValueError(f"its outcomes, {path.name}, are not those that were stored with it")


def _read(path: Path) -> CellResult:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "format" not in content:
            raise ValueError("it has no format")
        version = content.pop("format")
        if version != FORMAT:
            raise ValueError(f"format {version}, this version reads {FORMAT}")
        result = CellResult(**{**content, "name": CellName(**content["name"])})
        check_types(result)
        check_types(result.name)
        _check_outcomes(path.with_suffix(".jsonl"), result)
        return result
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a stored cell: {error}. Delete it to run the cell again.") from error
