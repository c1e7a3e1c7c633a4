"""The data of the sample browser: an index of a task's documents, and their words in chunks, read when asked for.

A page that is opened from the disk may not fetch files, but it may load scripts: each file calls the page back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.config.replicas import MARK, of_all_seeds
from harness.evaluation.asked import Asked, Key
from harness.evaluation.cells import CellResult, Outcome
from harness.evaluation.judged import key_of
from harness.report.html.source import Source

CHUNK = 50  # documents of a file
Place = tuple[str, int]  # subtask and number of a document


def write_samples(source: Source, task: str, folder: Path) -> dict[str, int]:
    """Writes the data of a task.

    Args:
        source: the results.
        task: the task.
        folder: where its files go.

    Returns:
        How many documents and cells there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cells = [(result, {(o.subtask, o.doc_id): o for o in outcomes}) for result, outcomes in source.cells(task)]
    places: dict[Place, str | None] = {}
    for _, outcomes in cells:
        for place, outcome in outcomes.items():
            places.setdefault(place, outcome.cluster)
    documents = list(places)
    asked, why = source.asked(task)
    index = {
        "task": task,
        "metric": cells[0][0].metric,
        "chance": cells[0][0].chance,
        "chunk": CHUNK,
        "why": why,
        "cells": [_cell(source, result, i, [c for c, _ in cells]) for i, (result, _) in enumerate(cells)],
        "documents": [[subtask, number, places[subtask, number]] for subtask, number in documents],
        "values": [_values(result, [outcomes.get(p) for p in documents]) for result, outcomes in cells],
    }
    _write(folder / "index.js", "index", index)
    levels = _levels(source, task)
    for first in range(0, len(documents), CHUNK):
        chunk = [
            _document(place, cells, asked, levels) for place in documents[first : first + CHUNK]
        ]  # fmt: skip
        _write(folder / f"{first // CHUNK}.js", "chunk", first // CHUNK, chunk)
    return {"documents": len(documents), "cells": len(cells)}


def _write(path: Path, function: str, *values: Any) -> None:
    # ASCII alone: no page can mistake what a model wrote for markup or for the end of a line.
    text = ",".join(json.dumps(v, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c") for v in values)
    path.write_text(f"report.{function}({text});\n", encoding="ascii")


def _cell(source: Source, result: CellResult, number: int, cells: list[CellResult]) -> dict[str, Any]:
    """What a cell is called, and which cell it is compared with."""
    name, baseline = result.name, source.table.baseline
    shared = of_all_seeds(name.variant)
    base = [i for i, c in enumerate(cells) if c.name.model == name.model and of_all_seeds(c.name.variant) == baseline]
    # Seed by seed where the baseline has seeds too.
    seed = name.variant.rpartition(MARK)[2]
    same = [i for i in base if cells[i].name.variant.rpartition(MARK)[2] == seed]
    return {
        "model": name.model,
        "variant": name.variant,
        "name": f"{name.model} / {name.variant}" if source.several else name.variant,
        "base": None if shared == baseline or not base else (same or base)[0],
        "score": _finite(result.score),
    }


def _values(result: CellResult, outcomes: list[Outcome | None]) -> str | list[float | None]:
    """The metric of each document: a sign each where it is right or wrong, and a point where it is missing."""
    values = [None if o is None else o.metrics[result.metric] for o in outcomes]
    if all(v in (None, 0.0, 1.0) for v in values):
        return "".join("." if v is None else str(int(v)) for v in values)
    return [None if v is None else _finite(v) for v in values]


def _levels(source: Source, task: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The judged levels of a task: (model, variant) -> document -> level."""
    return {
        (judged.model, row.variant): judged.variants[row.variant].documents
        for judged, rows in source.levels.tasks
        if judged.task == task
        for row in rows
    }


def _document(
    place: Place,
    cells: list[tuple[CellResult, dict[Place, Outcome]]],
    asked: dict[Key, Asked],
    levels: dict[tuple[str, str], dict[str, Any]],
) -> dict[str, Any]:
    """One document: its prompts, what is right, and what each cell answered."""
    prompts: dict[str, int] = {}
    texts: list[str | None] = []
    answers: list[dict[str, Any] | None] = []
    target, choices = None, None
    for result, outcomes in cells:
        outcome = outcomes.get(place)
        if outcome is None:
            answers.append(None)
            continue
        words = asked.get((*place, outcome.prompt_hash))
        if outcome.prompt_hash not in prompts:
            prompts[outcome.prompt_hash] = len(texts)
            texts.append(words.prompt if words else None)
        if words is not None and target is None:
            target, choices = words.target, words.choices or None
        level = levels.get((result.name.model, result.name.variant), {}).get(key_of(*place))
        answers.append(_answer(outcome, result, prompts[outcome.prompt_hash], level))
    return {"prompts": texts, "target": target, "choices": choices, "answers": answers}


def _answer(outcome: Outcome, result: CellResult, prompt: int, level: Any) -> dict[str, Any]:
    """One answer; what has nothing to say is left out."""
    generated = outcome.response is not None
    found = {
        "prompt": prompt or None,
        "text": _text(outcome.response) if generated else None,
        "read": _text(outcome.prediction) if generated else None,
        "likelihoods": None if generated else _likelihoods(outcome.prediction),
        "tokens": outcome.generated_tokens or None,
        "route": outcome.route,
        "level": level,
        "also": {k: _finite(v) for k, v in outcome.metrics.items() if k != result.metric} or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _text(value: Any) -> str | list[str]:
    """The one text of an answer, or its samples."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        return [v if isinstance(v, str) else json.dumps(v) for v in _flat(value)]
    return value if isinstance(value, str) else json.dumps(value)


def _flat(value: Any) -> list[Any]:
    return [x for v in value for x in _flat(v)] if isinstance(value, list) else [value]


def _likelihoods(prediction: Any) -> list[float | None] | None:
    """The log-likelihood of each choice, where the prediction is of that kind."""
    pairs = prediction if isinstance(prediction, list) else []
    if not pairs or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        return None
    return [_finite(p[0]) for p in pairs]


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if abs(number) < float("inf") else None
