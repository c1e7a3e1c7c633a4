"""Texts to train on, from any data set."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config.training import TextsConfig
from harness.data import DataSource


@dataclass(frozen=True)
class Text:
    """A prompt, which is read, and a completion, which is learned."""

    prompt: str
    completion: str


def read_texts(config: TextsConfig, data: DataSource) -> list[Text]:
    """Reads the texts in the data set's order.

    Raises:
        ValueError: for a data set, split or column that is not there, or a row without completion.
    """
    rows = data.open(config.path, config.name, "training")[config.split]
    if config.limit is not None:
        rows = rows.select(range(min(config.limit, len(rows))))
    where = f"data set {config.path}/{config.name or 'default'}, split {config.split}"
    texts = [_text(row, config, f"{where}, row {i}") for i, row in enumerate(rows)]
    if not texts:
        raise ValueError(f"{where}: no rows to train on")
    return texts


def _text(row: Mapping[str, Any], config: TextsConfig, where: str) -> Text:
    prompt = _filled(config.prompt, row, where)
    if config.divider is not None:
        before, divider, completion = prompt.rpartition(config.divider)
        if not divider:
            raise ValueError(f"{where}: no {config.divider!r} in column {config.prompt!r} to divide it")
        text = Text(before + divider, completion)
    elif config.completion is not None:
        text = Text(prompt, _filled(config.completion, row, where))
    else:
        raise ValueError("data: give a column of completions, or a divider that cuts the prompt's text in two")
    if not text.completion.strip():
        raise ValueError(f"{where}: nothing to learn, the completion is empty")
    return text


def _filled(template: str, row: Mapping[str, Any], where: str) -> str:
    """A column's text, or a template with columns in braces."""
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    missing = [name for name in names or [template] if name not in row]
    if missing:
        raise ValueError(f"{where}: no column {missing[0]!r}; columns: {', '.join(row)}")
    return template.format(**row) if names else str(row[template])


def digest_of(texts: Sequence[Text]) -> str:
    """SHA-256 of texts in their order."""
    return hashlib.sha256(json.dumps([[t.prompt, t.completion] for t in texts]).encode()).hexdigest()
