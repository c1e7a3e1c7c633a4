"""One stream of token rows that all models of a crosscoder read.

Axes: R rows, T positions.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import datasets
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from harness.config.crosscoder import TextConfig
from harness.lab import corpus

# Gives the same texts in the same order whenever it is called.
Texts = Callable[[], Iterator[str]]


@dataclass(frozen=True)
class Rows:
    """Token rows of one length.

    Attributes:
        ids_RT: token ids, padded with 0 behind the end.
        attention_RT: 1 where a token is.
        kept_RT: true where activations are used: real tokens that are no sink.
    """

    ids_RT: Tensor
    attention_RT: Tensor
    kept_RT: Tensor

    def __len__(self) -> int:
        return len(self.ids_RT)

    def batch(self, begin: int, end: int) -> Rows:
        """Some of the rows, cut to the longest of them."""
        attention = self.attention_RT[begin:end]
        length = int(attention.sum(dim=1).max())
        return Rows(self.ids_RT[begin:end, :length], attention[:, :length], self.kept_RT[begin:end, :length])


def texts_of(config: TextConfig) -> Texts:
    """The texts that a config names.

    Raises:
        ValueError: for a file that is not there or cannot be read, or an unknown form.
    """
    if config.source == "lab":
        return lambda: (t.prompt + t.completion for t in corpus.stream(config.seed, "base-late"))
    if config.source == "file":
        if not config.path:
            raise ValueError(
                "text.source=file needs text.path: a .txt or .jsonl file, gzipped or not, or a folder of them"
            )
        files = _files(Path(config.path))
        return lambda: (text for file in files for text in _read(file, config.column))
    if config.source == "hub":
        if not config.path:
            raise ValueError("text.source=hub needs text.path: the id of a data set")
        return lambda: _hub(config)
    raise ValueError(f"text.source={config.source!r}: expected lab, file or hub")


def text_identity(config: TextConfig) -> str:
    """What tells the text of a config from another under the same name: a hash of its files."""
    if config.source != "file" or not config.path:
        return ""
    digest = hashlib.sha256()
    for file in _files(Path(config.path)):
        with file.open("rb") as handle:
            digest.update(f"{file.name}:{hashlib.file_digest(handle, 'sha256').hexdigest()};".encode())
    return digest.hexdigest()


def token_rows(texts: Texts, tokenizer: PreTrainedTokenizerBase, config: TextConfig) -> Iterator[Tensor]:
    """Rows of ids, one after the other; the same rows whenever it is called.

    ``documents``: each text is a row, cut at ``length``; shorter ones than ``shortest`` are left out. ``packed``: texts
    one after the other with the end token between them, cut into rows of ``length``.
    """
    end = tokenizer.eos_token_id
    carried: list[int] = []
    for text in texts():
        ids = list(tokenizer(text, verbose=False)["input_ids"])  # rows are cut below
        if config.packed:
            carried += ids + ([] if end is None else [end])
            while len(carried) >= config.length:
                yield torch.tensor(carried[: config.length])
                del carried[: config.length]
        elif len(ids) >= max(config.shortest, 2):
            ended = ids if end is None or ids[-1] == end else [*ids, end]
            yield torch.tensor(ended[: config.length])


def stacked(rows: list[Tensor], sinks: Tensor, first: bool) -> Rows:
    """Rows of ids as one tensor, with what is left out of them.

    Args:
        rows: ids.
        sinks: token ids that gather attention and have outlier norms: left out wherever they stand.
        first: leave out the first position of each row as well.
    """
    length = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    attention = torch.zeros(len(rows), length, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        attention[i, : len(row)] = 1
    return Rows(ids, attention, kept(ids, attention, sinks, first))


def kept(ids_RT: Tensor, attention_RT: Tensor, sinks: Tensor, first: bool) -> Tensor:
    """Where activations are used; see `stacked`."""
    kept_RT = attention_RT.bool() & ~torch.isin(ids_RT, sinks.to(ids_RT.device))
    if first:
        kept_RT[:, 0] = False
    return kept_RT


def sinks_of(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Ids of the special tokens; an unknown word is a word."""
    return torch.tensor(sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}), dtype=torch.long)


def take(rows: Iterator[Tensor], tokens: int) -> list[Tensor]:
    """Rows of at least that many tokens together; fewer if the stream ends."""
    out: list[Tensor] = []
    count = 0
    while count < tokens and (row := next(rows, None)) is not None:
        out.append(row)
        count += len(row)
    return out


def skip(rows: Iterator[Tensor], count: int) -> None:
    """Passes over rows that were read in an earlier session."""
    next(islice(rows, count, count), None)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.name.removesuffix(".gz").endswith((".txt", ".jsonl")))
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise ValueError(f"text.path={path}: no .txt or .jsonl file there, gzipped or not")
    return found


def _read(file: Path, column: str) -> Iterator[str]:
    opener = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rt", encoding="utf-8") as handle:
            if file.name.removesuffix(".gz").endswith(".txt"):
                yield from (part for part in handle.read().split("\n\n") if part.strip())
                return
            for number, line in enumerate(handle, 1):
                if line.strip():
                    yield _column(json.loads(line), column, f"{file}: line {number}")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def _column(row: object, column: str, where: str) -> str:
    value = row.get(column) if isinstance(row, dict) else None
    if not isinstance(value, str):
        there = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"{where}: no text in column {column!r} (text.column); there: {there}")
    return value


def _hub(config: TextConfig) -> Iterator[str]:
    assert config.path is not None
    try:
        rows = datasets.load_dataset(config.path, config.name, split=config.split, streaming=True)
        for number, row in enumerate(rows):
            yield _column(row, config.column, f"{config.path}: row {number}")
    except (ConnectionError, FileNotFoundError, datasets.exceptions.DatasetsError, OSError) as error:
        raise ValueError(f"text.path={config.path}: cannot be had from the hub: {error}") from error
