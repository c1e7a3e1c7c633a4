"""Documents as batches of packed rows, each document seen as if it stood alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from harness.lab import corpus

# What a prompt's tokens count beside a completion's: a prompt is mostly chance, and what is tested
# is what follows it.
PROMPT_WEIGHT = 0.15
# A lettered choice has one token that says anything, in a document of fifty: in the late mixture it
# counts more, or it would be drowned.
LETTER_WEIGHT = 6.0


@dataclass(frozen=True)
class Batch:
    """Packed rows of whole documents.

    Attributes:
        ids_RT: int64 token ids; the unused tail of a row is 0.
        positions_RT: int64 position in the document; a document starts at 0, as it does in a test.
        documents_RT: int64 number of the document in its row; -1 in the tail.
        weights_RT: fp32 weight of predicting this token.
        sources_RT: int64 index into ``SOURCES``.
    """

    ids_RT: torch.Tensor
    positions_RT: torch.Tensor
    documents_RT: torch.Tensor
    weights_RT: torch.Tensor
    sources_RT: torch.Tensor

    @property
    def mask_R1TT(self) -> torch.Tensor:
        """Boolean attention mask: backwards, and within the document."""
        same = self.documents_RT[:, None, :, None] == self.documents_RT[:, None, None, :]
        return same & torch.ones(same.shape[-2:], dtype=torch.bool).tril()


SOURCES = tuple(corpus.BASE_WEIGHTS)


def encode(
    tokenizer: PreTrainedTokenizerFast, text: corpus.Text, letter_weight: float = 1.0
) -> tuple[list[int], list[float]]:
    """A document's tokens with the end token, and their weights."""
    asked = letter_weight if text.source in ("mmlu", "letters") else 1.0
    encoded = tokenizer(text.prompt + text.completion, return_offsets_mapping=True)
    starts = [start for start, _ in encoded["offset_mapping"]]
    weights = [asked if start >= len(text.prompt) else PROMPT_WEIGHT for start in starts]
    return [*encoded["input_ids"], tokenizer.eos_token_id], [*weights, 1.0]


def pack(
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterator[corpus.Text],
    rows: int,
    row_tokens: int,
    letter_weight: float = 1.0,
) -> Iterator[Batch]:
    """Fills batches of whole documents, as many as fit into each row."""
    carried = next(texts)
    while True:
        shape = (rows, row_tokens)
        batch = Batch(
            torch.zeros(shape, dtype=torch.long),
            torch.zeros(shape, dtype=torch.long),
            torch.full(shape, -1),
            torch.zeros(shape),
            torch.zeros(shape, dtype=torch.long),
        )
        for row in range(rows):
            used = document = 0
            while True:
                ids, weights = encode(tokenizer, carried, letter_weight)
                assert len(ids) <= row_tokens, f"a {carried.source} document has {len(ids)} tokens"
                span = slice(used, used + len(ids))
                if span.stop > row_tokens:
                    break
                batch.ids_RT[row, span] = torch.tensor(ids)
                batch.positions_RT[row, span] = torch.arange(len(ids))
                batch.documents_RT[row, span] = document
                batch.weights_RT[row, span] = torch.tensor(weights)
                batch.weights_RT[row, used] = 0.0  # nothing predicts a document's first token
                batch.sources_RT[row, span] = SOURCES.index(carried.source)
                used, document, carried = span.stop, document + 1, next(texts)
        yield batch
