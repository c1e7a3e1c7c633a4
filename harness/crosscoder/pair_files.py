"""Minimal pairs from files: JSON lines, JSON, or tables with tabs, gzipped or not, one file or all below a folder.

Each row has one of these forms, told by its columns:

- ``prefix``, ``right``, ``wrong``: our own;
- ``clean_prefix``, ``clean_answer``, ``patch_answer``: feature-circuits;
- ``sentence_good``, ``sentence_bad``: BLiMP, of which pairs that are told apart by one word behind a common prefix
  (``one_prefix_method``) are used;
- ``good``, ``bad``: Marvin and Linzen; ``sen``, ``wrong_sen``: MultiBLiMP;
- two columns without names, ``True`` or ``False`` and a sentence, right and wrong by turns: CLAMS.

A pair of sentences is cut at the first word that differs; sentences that differ again behind it are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.crosscoder.items import Pair
from harness.files import read_text

ENDINGS = (".jsonl", ".json", ".tsv", ".txt")
SENTENCES = (("sentence_good", "sentence_bad"), ("good", "bad"), ("sen", "wrong_sen"))
GROUPS = ("group", "UID", "task", "phenomenon", "case")


class _NotOnePrefixError(Exception):
    """A pair that no single word behind a common prefix tells apart."""


def read_pairs(path: Path) -> tuple[list[Pair], dict[str, int]]:
    """The pairs of a file or folder, and reason -> how many rows were left out.

    Raises:
        ValueError: for a path without such files, a file that cannot be read, or a row of no known form.
    """
    files = sorted(_files(path))
    if not files:
        raise ValueError(f"{path}: no file of pairs there ({', '.join(ENDINGS)}, or these with .gz)")
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for file in files:
        name = file.name.removesuffix(".gz").rpartition(".")[0]
        for where, row in _rows(file):
            try:
                pairs.append(_pair(row, name, where))
            except _NotOnePrefixError as error:
                left_out[str(error)] += 1
    return pairs, dict(left_out)


def _files(path: Path) -> Iterator[Path]:
    for candidate in path.rglob("*") if path.is_dir() else [path]:
        if candidate.is_file() and candidate.name.removesuffix(".gz").endswith(ENDINGS):
            yield candidate


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows with where they stand."""
    text = read_text(file)
    name = file.name.removesuffix(".gz")
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if name.endswith(".json"):
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{file} is not JSON: {error}") from error
        if not isinstance(content, list):
            raise ValueError(f"{file} holds a {type(content).__name__}, expected a list of rows")
        yield from ((f"{file}: row {number}", row) for number, row in enumerate(content, 1))
    elif name.endswith(".jsonl"):
        for number, line in lines:
            try:
                yield f"{file}: line {number}", json.loads(line)
            except ValueError as error:
                raise ValueError(f"{file}: line {number} is not JSON: {error}") from error
    else:
        yield from _table(file, lines)


def _table(file: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a table with tabs: with a head, or CLAMS's."""
    cells = [(f"{file}: line {number}", line.split("\t")) for number, line in lines]
    if not cells:
        return
    if cells[0][1][0] in ("True", "False"):
        yield from _clams(cells)
        return
    head = cells[0][1]
    for where, row in cells[1:]:
        if len(row) != len(head):
            raise ValueError(f"{where}: {len(row)} columns, the head has {len(head)}")
        yield where, dict(zip(head, row, strict=True))


def _clams(cells: list[tuple[str, list[str]]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """CLAMS: a right sentence is followed by its wrong ones."""
    good: str | None = None
    for where, row in cells:
        if len(row) != 2 or row[0] not in ("True", "False"):
            raise ValueError(f"{where}: expected True or False, a tab and a sentence")
        if row[0] == "True":
            good = row[1]
        elif good is None:
            raise ValueError(f"{where}: a wrong sentence before any right one")
        else:
            yield where, {"good": good, "bad": row[1]}


def _pair(row: object, name: str, where: str) -> Pair:
    if not isinstance(row, Mapping):
        raise ValueError(f"{where}: a {type(row).__name__}, expected an object")
    group = next((str(row[key]) for key in GROUPS if row.get(key)), name)
    if "prefix" in row and "right" in row:
        return _direct(row, ("prefix", "right", "wrong"), group, where)
    if "clean_prefix" in row:
        return _direct(row, ("clean_prefix", "clean_answer", "patch_answer"), group, where)
    for good, bad in SENTENCES:
        if good in row:
            if row.get("one_prefix_method") in (False, "False", "false"):
                raise _NotOnePrefixError("no common prefix (one_prefix_method is false)")
            return _cut(_text(row, good, where), _text(row, bad, where), group)
    forms = "prefix/right/wrong, clean_prefix/clean_answer/patch_answer, " + ", ".join("/".join(s) for s in SENTENCES)
    raise ValueError(f"{where}: no pair: columns {', '.join(map(str, row))}; known forms: {forms}")


def _direct(row: Mapping[str, Any], columns: tuple[str, str, str], group: str, where: str) -> Pair:
    prefix, right, wrong = (_text(row, column, where) for column in columns)
    return Pair(prefix, right, wrong, group, prefix)


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: {column} is {value!r}, expected text")
    return value


def _cut(good: str, bad: str, group: str) -> Pair:
    """Two sentences as a prefix and the words that tell them apart."""
    first, second = good.split(), bad.split()
    at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    if at is None:
        raise _NotOnePrefixError("the sentences do not differ in a word")
    if at == 0:
        raise _NotOnePrefixError("no common prefix")
    if first[at + 1 :] != second[at + 1 :]:
        raise _NotOnePrefixError("the sentences differ in more than one word")
    prefix = " ".join(first[:at])
    # The last word has its full stop on it, on both sides.
    return Pair(prefix, f" {first[at]}", f" {second[at]}", group, prefix)
