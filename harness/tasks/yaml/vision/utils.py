"""Functions that the tasks on images name."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.grading.vqa import accuracy, normalised


def image(doc: dict[str, Any]) -> list[Any]:
    """The picture of a document, in the three channels that towers expect."""
    return [doc["image"].convert("RGB")]


def most_common(doc: dict[str, Any]) -> str:
    """The answer that most people gave."""
    return Counter(normalised(answer) for answer in doc["answers"]).most_common(1)[0][0]


def vqa(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Accuracy against the people who were asked."""
    return {"vqa_accuracy": accuracy(results[0], doc["answers"])}
