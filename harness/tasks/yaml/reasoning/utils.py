"""Documents of the reasoning tasks: one form of problem, solution and answer; choices in a fixed order."""

from __future__ import annotations

import random
from typing import Any


def aime(dataset: Any) -> Any:
    """AIME's documents in MATH's form."""

    def _document(doc: dict[str, Any]) -> dict[str, Any]:
        answer = str(doc["Answer"])
        return {"problem": doc["Problem"], "answer": answer, "solution": f"$\\boxed{{{answer}}}$"}

    return dataset.map(_document, remove_columns=dataset.column_names)


def gpqa(dataset: Any) -> Any:
    """GPQA's documents with their choices in an order that the question settles.

    lm-eval's own tasks shuffle them anew in each process, without a seed.
    """

    def _document(doc: dict[str, Any]) -> dict[str, Any]:
        right = doc["Correct Answer"].strip()
        choices = sorted([right, *(doc[f"Incorrect Answer {i}"].strip() for i in (1, 2, 3))])
        random.Random(doc["Question"]).shuffle(choices)
        lines = [f"({letter}) {choice}" for letter, choice in zip("ABCD", choices, strict=True)]
        return {
            "question": doc["Question"].strip(),
            "choices": "\n".join(lines),
            "answer": "ABCD"[choices.index(right)],
        }

    return dataset.map(_document, remove_columns=dataset.column_names)
