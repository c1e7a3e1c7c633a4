"""What all models of a line-up hold on some rows of tokens.

Axes: N tokens that are used, in the order of the rows; M models, D width, B rows of a batch, T positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.crosscoder.lineup import Lineup, Reader
from harness.crosscoder.tokens import Rows


@dataclass(frozen=True)
class Readings:
    """Activations of all models.

    Attributes:
        rows: the tokens.
        x_NMD: fp32, on the CPU; of the positions in ``rows.kept_RT``.
        batch_tokens: tokens that a model reads at a time.
    """

    rows: Rows
    x_NMD: Tensor
    batch_tokens: int

    def batches(self) -> Iterator[tuple[Rows, slice, slice]]:
        """Rows of a batch, which rows these are, and which of the tokens N are theirs."""
        row = token = 0
        for batch in batches(self.rows, self.batch_tokens):
            count = int(batch.kept_RT.sum())
            yield batch, slice(row, row + len(batch)), slice(token, token + count)
            row, token = row + len(batch), token + count

    @property
    def rows_N(self) -> Tensor:
        """The row of each token that is used."""
        return self.rows.kept_RT.nonzero()[:, 0]

    @property
    def ids_N(self) -> Tensor:
        """The token itself."""
        return self.rows.ids_RT[self.rows.kept_RT]


def batches(rows: Rows, tokens: int) -> Iterator[Rows]:
    """Rows in their order, as many at a time as have that many tokens with their padding."""
    lengths = rows.attention_RT.sum(dim=1).tolist()
    begin = longest = 0
    for i, length in enumerate(lengths):
        if i > begin and max(longest, length) * (i - begin + 1) > tokens:
            yield rows.batch(begin, i)
            begin, longest = i, 0
        longest = max(longest, length)
    if begin < len(lengths):
        yield rows.batch(begin, len(lengths))


def read_batches(reader: Reader, rows: Rows, tokens: int) -> Iterator[Tensor]:
    """One model's activations at the positions that are used, batch by batch, fp32 ``[n, D]`` on the CPU."""
    for batch in batches(rows, tokens):
        x_BTD = reader.read(batch.ids_RT.to(reader.device), batch.attention_RT.to(reader.device))
        yield x_BTD[batch.kept_RT.to(x_BTD.device)].float().cpu()


def read_all(lineup: Lineup, rows: Rows, batch_tokens: int) -> Readings:
    """Every model reads every row."""
    x_NMD = torch.empty(int(rows.kept_RT.sum()), len(lineup.members), lineup.width)
    for m, identity in enumerate(lineup.identities):
        if (same := lineup.identities.index(identity)) < m:
            x_NMD[:, m] = x_NMD[:, same]
            continue
        with lineup.open(m) as reader:
            at = 0
            for x_ND in read_batches(reader, rows, batch_tokens):
                x_NMD[at : at + len(x_ND), m] = x_ND
                at += len(x_ND)
    return Readings(rows, x_NMD, batch_tokens)


def replaced(x_BTD: Tensor, kept_BT: Tensor, new_ND: Tensor) -> Tensor:
    """A layer's output with other values at the positions that are used; the rest stays."""
    out = x_BTD.clone()
    out[kept_BT.to(out.device)] = new_ND.to(out)
    return out
