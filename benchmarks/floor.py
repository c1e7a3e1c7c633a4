"""The least work that answers a set of requests, and the rate at which this machine multiplies matrices."""

from __future__ import annotations

import time

import torch
from torch import nn
from transformers import PreTrainedModel

from harness.anatomy import Anatomy
from harness.engine.scoring import ScoringPlan
from harness.engine.tree import PrefixTree

SIZE = 8192 if torch.cuda.is_available() else 1024


def matrix_rate(dtype: torch.dtype, repeats: int = 25) -> float:
    """FLOP/s of a square product, median of many: what the hardware does when nothing is in its way."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = torch.randn(SIZE, SIZE, device=device, dtype=dtype), torch.randn(SIZE, SIZE, device=device, dtype=dtype)
    times = []
    for _ in range(repeats + 3):
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * SIZE**3 / sorted(times[3:])[repeats // 2]


class Floor:
    """FLOPs of one model: products with weights, attention to what a token sees, head rows."""

    def __init__(self, model: PreTrainedModel) -> None:
        head = model.get_output_embeddings()
        # By shape, not by type: GPT-2's projections are no nn.Linear.
        outside = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding) or m is head}
        inner = sum(p.numel() for p in model.parameters() if p.dim() == 2 and id(p) not in outside)
        assert inner > 0, "a model without matrices"
        self._token = 2 * inner
        self._head = 2 * head.weight.numel()
        shape = Anatomy.of(model)
        # Scores and weighted values, two products of heads x head_size for each visible token.
        self._pair = 4 * shape.n_layers * shape.n_heads * shape.head_size

    def scoring(self, plan: ScoringPlan) -> float:
        """FLOPs of the tree's tokens and of the rows that are read."""
        return self._tokens(plan.tree.positions) + self._head * len(plan.rows)

    def generation(self, prompts: list[list[int]], texts: list[int]) -> float:
        """FLOPs of the distinct tokens of the prompts and of every generated token.

        Args:
            prompts: tokens of each prompt, once for each of its texts.
            texts: tokens generated for each.
        """
        tree = PrefixTree.of(prompts)
        total = self._tokens(tree.positions) + self._head * sum(texts)
        for prompt, n in zip(prompts, texts, strict=True):
            # The last token of a text is never fed back.
            total += sum(self._token + self._pair * (len(prompt) + i + 1) for i in range(n - 1))
        return total

    def _tokens(self, positions: object) -> float:
        at = torch.as_tensor(positions, dtype=torch.float64)
        return float(self._token * len(at) + self._pair * (at + 1).sum())
