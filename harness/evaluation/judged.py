"""What is stored of a task whose answers were judged by level: ``DIR/levels/<model>/<task>.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.evaluation.cells import CellResult, check_types, file_name
from harness.files import write_text

FORMAT = 1  # 1: first version


@dataclass(frozen=True)
class JudgedVariant:
    """The answers of one variant.

    Attributes:
        cell: what the stored answers are known by (`known_by`).
        documents: document -> level 1 to 4, or None where the judge gave none.
        tokens: document -> tokens of the answer.
        features: document -> what the rule read (fluency and relevance, None where form or scorer settle the level, and
            repetition); empty for a judge model.
    """

    cell: str
    documents: dict[str, Any]
    tokens: dict[str, int]
    features: dict[str, Any]

    def tally(self) -> list[int]:
        """Answers of level I, II, III and IV."""
        levels = list(self.documents.values())
        return [levels.count(level) for level in (1, 2, 3, 4)]

    @property
    def unread(self) -> int:
        """Answers that the judge gave no level."""
        return sum(level is None for level in self.documents.values())


@dataclass(frozen=True)
class JudgedExample:
    """An answer of known level, as the judge saw it.

    Attributes:
        kind: how it was made.
        truth: its level, 1 to 4.
        source: the document that its text comes from.
        judged: what the judge said; None if nothing.
    """

    kind: str
    truth: int
    source: str
    judged: int | None


@dataclass(frozen=True)
class JudgedTask:
    """A task of a model, judged.

    Attributes:
        model: the model's name in tables.
        task: the task's.
        teacher: variant whose answers set the thresholds.
        judge: ``rule``, or the model that was asked.
        rule: the rule in words.
        thresholds: where levels end; empty for a judge model.
        settings: what the judge was told (`LevelsConfig`), the model that read, and the answers that it learned from.
        calibrated: answers that set the thresholds.
        examples: the labelled set: documents that set no threshold.
        variants: variant -> its answers.
    """

    model: str
    task: str
    teacher: str
    judge: str
    rule: str
    thresholds: dict[str, float]
    settings: dict[str, Any]
    calibrated: int
    examples: list[JudgedExample]
    variants: dict[str, JudgedVariant]


def key_of(subtask: str, doc_id: int) -> str:
    """How a document is called here."""
    return f"{subtask}/{doc_id}"


def known_by(result: CellResult) -> str:
    """What tells a cell's answers from all others: their own digest, which cells of earlier versions lack."""
    return result.outcomes or result.digest


def path_of(folder: Path, model: str, task: str) -> Path:
    """Where a judged task lies."""
    return folder / "levels" / file_name(model) / f"{file_name(task)}.json"


def save(folder: Path, judged: JudgedTask) -> Path:
    """Writes a judged task; the file is whole or as it was."""
    path = path_of(folder, judged.model, judged.task)
    write_text(path, json.dumps({"format": FORMAT, **asdict(judged)}, indent=1) + "\n")
    return path


def load(path: Path) -> JudgedTask:
    """Reads a judged task.

    Raises:
        ValueError: if the file is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (version := content.pop("format")) != FORMAT:
            raise ValueError(f"format {version}, this version reads {FORMAT}")
        variants = {name: JudgedVariant(**v) for name, v in content.pop("variants").items()}
        examples = [JudgedExample(**e) for e in content.pop("examples")]
        judged = JudgedTask(**content, variants=variants, examples=examples)
        for record in (judged, *variants.values(), *examples):
            check_types(record)
        _check_values(judged)
        return judged
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} holds no judged answers: {error}. Delete it to judge them again.") from error


def _check_values(judged: JudgedTask) -> None:
    levels = [level for v in judged.variants.values() for level in v.documents.values()]
    levels += [e.judged for e in judged.examples]
    if any(level not in (1, 2, 3, 4, None) for level in levels) or any(
        e.truth not in (1, 2, 3, 4) for e in judged.examples
    ):
        raise ValueError("a level is not one of 1 to 4")
    for name, variant in judged.variants.items():
        if not variant.documents or set(variant.documents) != set(variant.tokens):
            raise ValueError(f"levels and tokens of {name} are not of the same documents")
    numbers = [*judged.thresholds.values(), *(n for v in judged.variants.values() for n in v.tokens.values())]
    if not all(isinstance(n, (int, float)) for n in numbers):
        raise TypeError("a threshold or a count of tokens is not a number")


def judged_tasks(folder: Path) -> tuple[list[JudgedTask], list[str]]:
    """All judged tasks of a results folder that can be read, and what is wrong with the others."""
    out, problems = [], []
    for path in sorted((folder / "levels").glob("*/*.json")):
        try:
            out.append(load(path))
        except ValueError as error:
            problems.append(str(error))
    return out, problems
