"""Functions that the lab's tasks name."""

from __future__ import annotations


def build_predictions(resps: list[list[str]], docs: list[dict[str, str]]) -> list[list[str]]:
    """Whole programs: each completion behind its document's prompt, as HumanEval's filter does."""
    return [[doc["prompt"] + text for text in texts] for texts, doc in zip(resps, docs, strict=True)]
