"""What is stored of a task whose answers were judged by level: ``DIR/levels/<model>/<task>.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.evaluation.cells import check_types, file_name
from harness.files import write_text

FORMAT = 1  # 1: first version


@dataclass(frozen=True)
class JudgedVariant:
    """The answers of one variant.

    Attributes:
        cell: digest of the identity of the cell they come from.
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
class JudgedTask:
    """A task of a model, judged.

    Attributes:
        model: the model's name in tables.
        task: the task's.
        baseline: variant whose answers set the thresholds.
        judge: ``rule``, or the model that was asked.
        rule: the rule in words.
        thresholds: where levels end; empty for a judge model.
        settings: what the judge was told (`LevelsConfig`), and the fingerprint of the model that read.
        calibrated: documents that set the thresholds.
        agreement: kind of example -> how many were judged I to IV, and how many got no level; on other documents.
        truth: kind -> its true level.
        variants: variant -> its answers.
    """

    model: str
    task: str
    baseline: str
    judge: str
    rule: str
    thresholds: dict[str, float]
    settings: dict[str, Any]
    calibrated: int
    agreement: dict[str, Any]
    truth: dict[str, int]
    variants: dict[str, JudgedVariant]


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
        judged = JudgedTask(**content, variants=variants)
        for record in (judged, *variants.values()):
            check_types(record)
        return judged
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} holds no judged answers: {error}. Delete it to judge them again.") from error


def judged_tasks(folder: Path) -> Iterator[JudgedTask]:
    """All judged tasks of a results folder, sorted by path."""
    for path in sorted((folder / "levels").glob("*/*.json")):
        yield load(path)
