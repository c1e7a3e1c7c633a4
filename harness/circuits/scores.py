"""Scores of heads from activations alone: FLAP, Contrastive-FLAP and a paired contrast, in closed form.

An et al. 2024, "Fluctuation-based adaptive structured pruning"; Andersen et al. 2025, "Accelerated path patching". With
X the input of the output projection, j its channels and W the projection's weight:

    FLAP:        A_j = (fluc_j * sum_i W_ij^2)^2,  fluc_j = 1/N sum_{n,t} (X_ntj - mean_j)^2
    Contrastive: C_j = | T_j(clean)^2 - T_j(corrupt)^2 |,  T_j = mean_i |W_ij| * sqrt(1/N sum_{n,t} X_ntj^2)

both standardised over the channels of a layer and averaged over a head's. The contrast is of two aggregates, so it is
blind to what changes its direction alone. The paired one is not: the energy of a head's change from each clean prompt
to its corrupt twin, as a share of the residual stream's that it is added to,

    Paired:      P_h = sum_{n,t} ||W_h (z_clean - z_corrupt)||^2 / sum_{n,t} ||stream||^2.

Padding is left out, and a layer without any spread scores 0. Axes as in `harness.circuits.stack`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.circuits.cost import Cost
from harness.circuits.downstream import Batch
from harness.circuits.nodes import Head
from harness.circuits.prompts import Prompts, chunks
from harness.circuits.stack import Stack

Scores = Mapping[Head, float]


@dataclass
class _Moments:
    """Sums of one layer's heads over prompts and positions, ``[H, D]`` each, in double precision."""

    count: int
    mean: Tensor
    spread: Tensor  # sum of squared distances from the mean
    square: Tensor

    @classmethod
    def of(cls, z_XHD: Tensor) -> _Moments:
        """Of some rows."""
        z_XHD = z_XHD.double()
        mean = z_XHD.mean(dim=0)
        return cls(len(z_XHD), mean, (z_XHD - mean).square().sum(dim=0), z_XHD.square().sum(dim=0))

    def plus(self, other: _Moments) -> _Moments:
        """Of both (Chan et al. 1979: means are merged, nothing is subtracted from large sums)."""
        total = self.count + other.count
        step = other.mean - self.mean
        mean = self.mean + step * other.count / total
        spread = self.spread + other.spread + step.square() * self.count * other.count / total
        return _Moments(total, mean, spread, self.square + other.square)


@dataclass(frozen=True)
class Activations:
    """What the scores are made of, for each layer.

    Attributes:
        n: prompts.
        clean: moments on clean prompts.
        corrupt: moments on corrupt prompts.
        paired: each head's energy of change as a share of the stream's, ``[H]``.
    """

    n: int
    clean: Sequence[_Moments]
    corrupt: Sequence[_Moments]
    paired: Sequence[Tensor]


def activations(stack: Stack, prompts: Prompts, batch_tokens: int = 16384, cost: Cost | None = None) -> Activations:
    """Two forwards over the prompts, positions up to each prompt's end."""
    cost = cost if cost is not None else Cost()
    parts: list[tuple[list[_Moments], list[_Moments], list[tuple[Tensor, Tensor]]]] = []
    with stack.running():
        for part in chunks(prompts, batch_tokens):
            batch = Batch.of(stack, prompts.take(part), cost)
            length = batch.prompts.clean_NT.shape[1]
            inside = torch.arange(length) <= batch.prompts.ends_N[:, None]
            parts.append(
                (
                    [_Moments.of(_inside(z, inside)) for z in batch.clean.z],
                    [_Moments.of(_inside(z, inside)) for z in batch.corrupt_z],
                    [_energies(stack, batch, layer, inside) for layer in range(stack.n_layers)],
                )
            )
    cost.passes["trace"] += 2
    clean, corrupt, energies = parts[0]
    for c, r, e in parts[1:]:
        clean = [a.plus(b) for a, b in zip(clean, c, strict=True)]
        corrupt = [a.plus(b) for a, b in zip(corrupt, r, strict=True)]
        energies = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(energies, e, strict=True)]
    return Activations(len(prompts), clean, corrupt, [moved / whole for moved, whole in energies])


def flap(stack: Stack, found: Activations) -> Scores:
    """FLAP's scores: heads whose output fluctuates on clean prompts."""
    layers = []
    for weights, clean in zip(stack.project_LHDE, found.clean, strict=True):
        fluctuation = clean.spread / found.n
        layers.append((fluctuation * weights.cpu().double().square().sum(dim=-1)).square())
    return _by_head([_standard(values).mean(dim=-1) for values in layers])


def contrastive(stack: Stack, found: Activations) -> Scores:
    """Contrastive-FLAP's scores: heads whose output has another norm on corrupt prompts."""
    layers = []
    for weights, clean, corrupt in zip(stack.project_LHDE, found.clean, found.corrupt, strict=True):
        size = weights.cpu().double().abs().mean(dim=-1).square()
        layers.append(size * (clean.square - corrupt.square).abs() / found.n)
    return _by_head([_standard(values).mean(dim=-1) for values in layers])


def paired(stack: Stack, found: Activations) -> Scores:
    """The paired contrast: heads whose output changes between a clean prompt and its corrupt twin."""
    return _by_head(found.paired)


SCORES = {"flap": flap, "contrastive": contrastive, "paired": paired}


def keep(scores: Scores, sparsity: float) -> frozenset[Head]:
    """The best heads: ``round((1 - sparsity) * heads)`` of them, ties by layer and head.

    Raises:
        ValueError: for a sparsity outside 0 to 1.
    """
    return best(ranked(scores), sparsity)


def best(order: Sequence[Head], sparsity: float) -> frozenset[Head]:
    """The first ``round((1 - sparsity) * heads)`` of all heads in their order.

    Raises:
        ValueError: for a sparsity outside 0 to 1.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity {sparsity} is outside 0 to 1")
    return frozenset(order[: round((1 - sparsity) * len(order))])


def ranked(scores: Scores) -> list[Head]:
    """Heads, the best first."""
    return sorted(scores, key=lambda head: (-scores[head], head))


def _inside(z_BHTD: Tensor, inside_BT: Tensor) -> Tensor:
    """Rows of positions that belong to a prompt, ``[X, H, D]``."""
    return z_BHTD.transpose(1, 2).cpu()[inside_BT]


def _energies(stack: Stack, batch: Batch, layer: int, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of each head's change, ``[H]``, and of the stream behind the attention."""
    mask = inside.to(batch.clean.out[layer].device)
    change = batch.clean.z[layer] - batch.corrupt_z[layer]
    moved = torch.einsum("bhtd,hde->bhte", change, stack.project_LHDE[layer]).square().sum(dim=-1)
    stream = (batch.clean.streams[layer] + batch.clean.out[layer]).square().sum(dim=-1)
    return (moved * mask[:, None]).sum(dim=(0, 2)).cpu().double(), (stream * mask).sum().cpu().double()


def _standard(values_HD: Tensor) -> Tensor:
    """Standardised over all channels of the layer; without spread, or with one channel, all are 0."""
    std = values_HD.std() if values_HD.numel() > 1 else values_HD.new_zeros(())
    return (values_HD - values_HD.mean()) / std if std > 0 else torch.zeros_like(values_HD)


def _by_head(layers: Sequence[Tensor]) -> dict[Head, float]:
    return {Head(i, h): float(value) for i, values in enumerate(layers) for h, value in enumerate(values)}
