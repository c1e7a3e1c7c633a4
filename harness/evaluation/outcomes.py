"""lm-eval's samples as outcomes, one a document and filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.data import rows_digest
from harness.engine import ResidentLM, RoutedLM
from harness.evaluation.cells import Outcome
from harness.tasks.load import LoadedTask
from harness.tasks.sourced import SourcedTask


def outcomes_of(
    samples: Mapping[str, list[dict[str, Any]]], task: LoadedTask, lm: ResidentLM | RoutedLM
) -> list[Outcome]:
    """lm-eval's samples as outcomes; values are plain Python numbers."""
    out = []
    for subtask, rows in samples.items():
        for row in rows:
            generated = task.subtasks[subtask].OUTPUT_TYPE == "generate_until"
            texts = [text for request in row["resps"] for text in request] if generated else []
            out.append(
                Outcome(
                    subtask=subtask,
                    doc_id=int(row["doc_id"]),
                    doc_hash=_doc_hash(row, task.subtasks[subtask]),
                    prompt_hash=row["prompt_hash"],
                    filter=row["filter"],
                    prediction=_plain(row["filtered_resps"]),
                    response=_plain(row["resps"]) if generated else None,
                    metrics={name: float(row[name]) for name in row["metrics"] if _is_number(row[name])},
                    cluster=cluster_of(task.config.cluster, subtask, row["doc"]),
                    generated_tokens=sum(len(lm.tok_encode(text)) for text in texts),
                    route=lm.route_of(subtask, int(row["doc_id"])) if isinstance(lm, RoutedLM) else None,
                )
            )
    return out


def _doc_hash(row: Mapping[str, Any], task: SourcedTask) -> str:
    """lm-eval's hash of the document; of one with an image it hashes where that lies in memory, so it gets ours."""
    if task.config.doc_to_image is None:
        return str(row["doc_hash"])
    return rows_digest([task.eval_docs[int(row["doc_id"])]])


def cluster_of(kind: str, subtask: str, doc: Mapping[str, Any]) -> str | None:
    """What a document is alike to.

    Raises:
        ValueError: for a column that the documents do not have.
    """
    if kind == "none":
        return None
    if kind == "subtask":
        return subtask
    if kind not in doc:
        raise ValueError(f"cluster {kind!r}: documents of {subtask} have the columns {', '.join(doc)}")
    return str(doc[kind])


def _is_number(value: Any) -> bool:
    """Some metrics carry what their aggregation needs (pairs, texts); those are no outcomes."""
    return isinstance(value, (bool, int, float, np.number))


def _plain(value: Any) -> Any:
    """Lists, strings and numbers of Python for what may hold tuples and numpy numbers."""
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value
