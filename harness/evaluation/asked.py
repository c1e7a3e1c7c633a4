"""What documents were asked and what was right: ``DIR/asked/<task>.jsonl.gz``, once for all cells of a task.

Cells keep only the hash of a prompt, since every variant is asked the same. The words stand here, for people who read
single answers.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.evaluation.cells import check_types, file_name
from harness.files import write_bytes

logger = logging.getLogger(__name__)
Key = tuple[str, int, str]
_NOT_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


@dataclass(frozen=True)
class Asked:
    """One document as it was asked.

    Attributes:
        subtask: lm-eval's name of the task it belongs to.
        doc_id: its number there.
        prompt_hash: lm-eval's hash of the prompt.
        prompt: the prompt, shots included.
        target: what the task takes for right, as text; of a choice its number.
        choices: the continuations whose likelihoods were compared; empty for generated answers.
        doc: the document as the data set has it, as far as JSON can say it.
    """

    subtask: str
    doc_id: int
    prompt_hash: str
    prompt: str
    target: str
    choices: list[str] = field(default_factory=list)
    doc: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What an outcome finds it by."""
        return self.subtask, self.doc_id, self.prompt_hash


def asked_in(samples: Mapping[str, list[dict[str, Any]]]) -> list[Asked]:
    """What lm-eval's samples asked, each document once."""
    found: dict[Key, Asked] = {}
    for subtask, rows in samples.items():
        for row in rows:
            arguments = [a if isinstance(a, (list, tuple)) else [a] for a in row["arguments"]]
            prompt = str(arguments[0][0]) if arguments else ""
            choices = [str(a[1]) for a in arguments if len(a) > 1 and isinstance(a[1], str)]
            doc = json.loads(json.dumps(row.get("doc") or {}, default=_plain))
            number, digest = int(row["doc_id"]), str(row["prompt_hash"])
            one = Asked(subtask, number, digest, prompt, _text(row["target"]), choices, doc)
            found.setdefault(one.key, one)
    return list(found.values())


def _plain(value: Any) -> Any:
    """What JSON cannot say: numbers of numpy as numbers, images and bytes by their kind alone."""
    return value.item() if getattr(value, "ndim", None) == 0 else f"<{type(value).__name__}>"


def _text(target: Any) -> str:
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False, default=str)


class AskedStore:
    """The asked documents of one results folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, set[Key]] = {}

    def path(self, task: str) -> Path:
        """Where a task's documents lie."""
        return self._folder / "asked" / f"{file_name(task)}.jsonl.gz"

    def add(self, task: str, asked: Iterable[Asked]) -> None:
        """Adds those documents that do not lie there yet; the file is whole or as it was."""
        known = self._known.setdefault(task, set())
        if not (new := [a for a in asked if a.key not in known]):
            return
        path = self.path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / f".{path.name}.lock"):
            try:
                there = self.read(task)
            except ValueError as error:
                aside = path.with_name(f"{path.name}.damaged-{os.getpid()}")
                os.replace(path, aside)
                there = _whole_lines(aside)
                logger.warning(
                    "%s It was put aside as %s; %d documents of it could be read.", error, aside.name, len(there)
                )
            known.update(there)
            more = {a.key: a for a in new if a.key not in there}
            if more:
                everything = sorted([*there.values(), *more.values()], key=lambda a: a.key)
                buffer = io.BytesIO()
                # No time in the header: the same documents make the same file.
                with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=3) as file:
                    for one in everything:
                        file.write((json.dumps(asdict(one), ensure_ascii=False) + "\n").encode())
                write_bytes(path, buffer.getvalue())
            known.update(more)

    def read(self, task: str) -> dict[Key, Asked]:
        """A task's documents; none where none were stored.

        Raises:
            ValueError: for a damaged file.
        """
        path = self.path(task)
        if not path.is_file():
            return {}
        try:
            with gzip.open(path, "rb") as file:
                found = [_asked(line) for line in file]
            return {one.key: one for one in found}
        except (*_NOT_GZIP, ValueError, TypeError) as error:
            raise ValueError(f"{path} holds no asked documents: {error}. Delete it; the next run writes it.") from error


def _asked(line: bytes) -> Asked:
    one = Asked(**json.loads(line))
    check_types(one)
    return one


def _whole_lines(path: Path) -> dict[Key, Asked]:
    """What can be read of a damaged file."""
    found = {}
    with suppress(*_NOT_GZIP), gzip.open(path, "rb") as file:
        for line in file:
            with suppress(ValueError, TypeError):
                one = _asked(line)
                found[one.key] = one
    return found
