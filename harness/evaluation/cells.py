"""What a cell is: its name, its identity, its outcomes and its result."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, fields
from typing import Any

FORMAT = 1  # 1: first version


@dataclass(frozen=True)
class CellName:
    """One variant of one model on one task."""

    model: str
    variant: str
    task: str

    def __str__(self) -> str:
        return f"{self.model}/{self.variant}/{self.task}"


def file_name(text: str) -> str:
    """A name as a file name: what a file system or a shell could trip over becomes ``-``."""
    return re.sub(r"[^A-Za-z0-9._=,+()~-]", "-", text)


def identity_digest(identity: dict[str, Any]) -> str:
    """SHA-256 of everything that a cell's outcomes depend on."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()


_KINDS: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "dict": dict}


def check_types(record: Any) -> None:
    """Raises a TypeError if a field that was read from a file is not of its kind."""
    for one in fields(record):
        kind = _KINDS.get(str(one.type).partition("[")[0])
        value = getattr(record, one.name)
        if kind is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise TypeError(f"{one.name} is a {type(value).__name__}, expected {one.type}")
    for name in ("metrics", "scores", "groups", "counts"):
        for key, value in getattr(record, name, {}).items():
            if not isinstance(value, (int, float)):
                raise TypeError(f"{name}.{key} is a {type(value).__name__}, expected a number")


@dataclass(frozen=True)
class Outcome:
    """One document's result under one filter.

    Attributes:
        subtask: lm-eval's name of the task it belongs to.
        doc_id: its number there.
        doc_hash: lm-eval's hash of the document.
        prompt_hash: lm-eval's hash of the first prompt.
        filter: lm-eval's name of the filter.
        prediction: what the filter made of the answer (choices: the log-likelihoods).
        response: the answer as generated (None for choices).
        metrics: metric -> value.
        cluster: what documents it is alike to, or None.
        generated_tokens: tokens of the answer (0 for choices).
        route: which patch it was asked under, for a variant that adapts.
    """

    subtask: str
    doc_id: int
    doc_hash: str
    prompt_hash: str
    filter: str
    prediction: Any
    response: Any
    metrics: dict[str, float]
    cluster: str | None
    generated_tokens: int
    route: str | None = None

    @property
    def document(self) -> tuple[str, int, str, str]:
        """What pairs it with the same document of another variant, asked in the same words."""
        return self.subtask, self.doc_id, self.doc_hash, self.prompt_hash


@dataclass(frozen=True)
class CellResult:
    """A finished cell, as it is stored.

    Attributes:
        name: which cell.
        digest: digest of ``identity``.
        identity: everything that the outcomes depend on.
        metric: the metric that is the score.
        filter: the filter it is read under.
        chance: score of guessing.
        score: mean of the metric.
        n: documents.
        scores: ``metric,filter`` -> mean.
        groups: group -> mean of the metric.
        counts: tokens, requests, what was clipped, what was not finite.
        seconds: wall-clock time of the evaluation.
        finished: UTC time, ISO format.
        patch: provenance of the patch in short: method, touched and trained parameters, config.
        settings: what does not change outcomes but is good to know (batch size, device).
        outcomes: SHA-256 of the file of outcomes; empty in cells of earlier versions.
        routing: of a variant that adapts: ``seconds`` of pass one, and what it found.
    """

    name: CellName
    digest: str
    identity: dict[str, Any]
    metric: str
    filter: str
    chance: float
    score: float
    n: int
    scores: dict[str, float]
    groups: dict[str, float]
    counts: dict[str, int]
    seconds: float
    finished: str
    patch: dict[str, Any]
    settings: dict[str, Any]
    outcomes: str = ""
    routing: dict[str, Any] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """Why the numbers cannot be trusted; empty when they can."""
        out = []
        if self.counts.get("not_finite"):
            out.append(f"{self.counts['not_finite']} log-likelihoods were NaN or infinite")
        if self.n == 0:
            out.append("no document was scored")
        return out
