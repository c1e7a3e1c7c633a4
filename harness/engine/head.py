"""The language-model head, on the rows that are read."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.engine.vocabulary import most_likely

_FEW = 256  # rows for which a CPU multiplies the other way round
# Tokens of the vocabulary whose logits are held at a time, and rows: on a CPU they stay in its cache.
_STRETCH = {"cpu": 1024, "cuda": 8192}
_ROWS = {"cpu": 512, "cuda": 4096}


class Head:
    """The output embeddings of the resident model, looked up at each call: a patch may have come in."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    @property
    def _layer(self) -> nn.Module:
        layer = self._model.get_output_embeddings()
        assert layer is not None
        return layer

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits in the model's dtype, ``[rows, vocabulary]``."""
        layer = self._layer
        if hidden.is_cuda or len(hidden) > _FEW or not isinstance(layer, nn.Linear):
            return layer(hidden)
        # For a few rows the CPU's matrix product is up to twice as fast the other way round.
        logits = torch.mm(layer.weight, hidden.T).T
        return logits if layer.bias is None else logits + layer.bias

    def most_likely(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The most likely token of each row, the first of equals, and whether a logit is NaN, ``[rows]``."""
        values, tokens = most_likely(self.logits(hidden))
        return tokens, values.isnan()

    def rows_at_once(self, hidden: Tensor) -> int:
        """Rows to read in one call of `log_probabilities`."""
        return _ROWS.get(hidden.device.type, min(_ROWS.values()))

    def log_probabilities(self, hidden: Tensor, at: Tensor, targets: Tensor) -> Tensor:
        """Reads log-probabilities behind rows of hidden states, without ever holding all logits.

        Args:
            hidden: ``[rows, hidden]``.
            at: row of each pair, ``[pairs]``.
            targets: token of each pair, ``[pairs]``.

        Returns:
            fp32 ``[2, pairs]``: the log-probability, and 1 where the token is the most probable one.
        """
        tops: list[Tensor] = []
        tokens: list[Tensor] = []
        sums: list[Tensor] = []
        chosen = torch.empty(0)
        for first, logits in self._stretches(hidden):
            at, targets = at.to(logits.device), targets.to(logits.device)
            if not tops:
                chosen = logits.new_zeros(len(at))
            here = (targets >= first) & (targets < first + logits.shape[1])
            # Clamped in place of chosen by the mask, which would make a GPU wait.
            local = (targets - first).clamp(0, logits.shape[1] - 1)
            chosen = torch.where(here, logits[at, local], chosen)
            top, token = most_likely(logits)
            tops.append(top)
            tokens.append(token + first)
            sums.append(logits.sub_(top[:, None]).exp_().sum(dim=-1).log() + top)
        best = torch.stack(tops).argmax(dim=0)
        greedy = torch.stack(tokens).gather(0, best[None])[0]
        total = torch.stack(sums).logsumexp(dim=0)
        return torch.stack([chosen - total[at], (greedy[at] == targets).float()])

    def _stretches(self, hidden: Tensor) -> Iterator[tuple[int, Tensor]]:
        """First token and logits of one stretch after another, in fp32 whatever the model's dtype."""
        layer = self._layer
        if not isinstance(layer, nn.Linear):
            yield 0, layer(hidden).float()
            return
        columns = hidden.to(layer.weight.device).T.contiguous()
        width = _STRETCH.get(columns.device.type, min(_STRETCH.values()))
        for first in range(0, len(layer.weight), width):
            logits = _product(layer.weight[first : first + width], columns)
            if layer.bias is not None:
                logits += layer.bias[first : first + width, None].float()
            yield first, logits.T


def _product(weight: Tensor, columns: Tensor) -> Tensor:
    """Accumulated and kept in fp32."""
    if weight.dtype == torch.float32:
        return torch.mm(weight, columns)
    if weight.is_cuda:
        return torch.mm(weight, columns, out_dtype=torch.float32)
    return torch.mm(weight.float(), columns.float())
