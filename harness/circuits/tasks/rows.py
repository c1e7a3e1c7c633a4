"""The circuit tasks as data sets of text, for suites: the side of the split that circuits are not found on."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from harness.circuits.tasks.sets import MODULES, distinct, drawing

PATH = "harness/circuits"
SIZES = {"test": 300, "train": 1000}


def names() -> list[str]:
    """Names of the data sets: the wording, then the task."""
    return [f"{words}_{task}" for task, module in MODULES.items() for words in module.WORDINGS]


def rows(name: str, split: str) -> list[dict[str, Any]]:
    """The rows of one split.

    Columns: ``prompt``; ``choices``, all continuations; ``right``, which of them are right; ``corrupt``, the prompt's
    twin; ``edges``, for tasks with a cut-off the choices next to it on each side; ``template``.

    Raises:
        ValueError: for an unknown data set or split.
    """
    if name not in names():
        raise ValueError(f"there is no circuit data set {name!r}; known: {', '.join(names())}")
    if split not in SIZES:
        raise ValueError(f"circuit data sets have the splits {', '.join(SIZES)}, not {split!r}")
    return [dict(row) for row in _rows(name, split)]


@cache
def _rows(name: str, split: str) -> tuple[dict[str, Any], ...]:
    words, _, task = name.partition("_")
    draw = drawing(task, words, None, None).draw
    pairs = distinct(draw, random.Random(f"{name}-{split}"), SIZES[split], test=split == "test")
    out = []
    for pair in pairs:
        # In order of what they say, so that the place of an answer tells nothing of it.
        choices = sorted({*pair.right, *pair.wrong})
        out.append(
            {
                "prompt": pair.clean,
                "corrupt": pair.corrupt,
                "choices": choices,
                "right": [choices.index(text) for text in pair.right],
                "edges": [choices.index(text) for text in pair.edges] if pair.edges else [],
                "template": pair.template,
            }
        )
    return tuple(out)
