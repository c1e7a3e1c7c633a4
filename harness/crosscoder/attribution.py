"""What each latent does to a task's metric in each model: indirect effects by gradients, and exactly.

Bayazit et al. 2025, section 3 (after Marks et al. 2024): the metric is D = logit(right) - logit(wrong) at the last
position, a latent's ablation sets it to zero at every position, and its effect is what D loses by that,

    IE_i = D(as it is) - D(without latent i),

so a positive effect helps the task. Integrated gradients estimate it on the way from what the model holds, x, to what
an empty code stands for, b: at x - a (x - b) every latent and the error are down to the share 1 - a together.
As dD/df_i = W_i . dD/dx, the gradient with respect to the residual stream serves all latents: no graph through the
code is needed.

Axes: I items, N tokens that are used, K latents, D width, B rows of a batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.crosscoder.crosscoder import Crosscoder
from harness.crosscoder.items import Items
from harness.crosscoder.lineup import Lineup, Reader
from harness.crosscoder.readings import Readings, replaced
from harness.crosscoder.tokens import Rows

STEPS = 10  # gradients on the way, as in the paper


@dataclass(frozen=True)
class Effects:
    """Effects in one model, item by item.

    Attributes:
        integrated_IK: by integrated gradients, summed over positions.
        gradient_IK: by the first gradient alone (gradient times activation).
        error_I: effect of what the crosscoder misses, by integrated gradients.
        clean_I: D as it is.
        empty_I: D with an empty code and without the error.
    """

    integrated_IK: Tensor
    gradient_IK: Tensor
    error_I: Tensor
    clean_I: Tensor
    empty_I: Tensor

    @property
    def accuracy(self) -> float:
        """Share of the items whose right continuation is the likelier one."""
        return float((self.clean_I > 0).float().mean())

    @property
    def gap(self) -> float:
        """What the effects and the error leave unexplained of D(as it is) - D(empty), as a share of it."""
        whole = float((self.clean_I - self.empty_I).mean())
        told = float((self.integrated_IK.sum(dim=1) + self.error_I).mean())
        return (told - whole) / whole if whole else float("nan")


def effects(
    crosscoder: Crosscoder,
    lineup: Lineup,
    items: Items,
    readings: Readings,
    model: int,
    steps: int = STEPS,
    least: float = 0.0,
) -> Effects:
    """Indirect effects of every latent in one model.

    Args:
        crosscoder: trained.
        lineup: its models.
        items: what is asked.
        readings: of the items' rows.
        model: which of the models.
        steps: gradients on the way (left Riemann sum).
        least: effects at one position that are not larger count as 0; the paper's scripts take 0.1.
    """
    directions_KD = crosscoder.directions(model).detach().cpu()
    centre_D = crosscoder.centre(model).detach().cpu()
    count, latents = len(items), crosscoder.shape.latents
    integrated, gradient = torch.zeros(count, latents), torch.zeros(count, latents)
    error, clean, empty = torch.zeros(count), torch.zeros(count), torch.zeros(count)
    rows_N = readings.rows_N
    with lineup.open(model) as reader:
        for batch, which, tokens in _prepared(readings, reader):
            x_ND = readings.x_NMD[tokens, model]
            code_NK = crosscoder.encode(readings.x_NMD[tokens].to(crosscoder.bias_K.device)).detach().cpu()
            error_ND = x_ND - (code_NK @ directions_KD + centre_D)
            x_BTD = reader.read(batch.ids_RT, batch.attention_RT)
            run = _Run(reader, items, batch, which, x_BTD)
            total_ND = torch.zeros_like(x_ND)
            for step in range(steps):
                d_B, gradient_ND = run.gradient(centre_D + (1 - step / steps) * (x_ND - centre_D))
                if step == 0:
                    clean[which] = d_B
                    _add(gradient, rows_N[tokens], code_NK * (gradient_ND @ directions_KD.T), least)
                total_ND += gradient_ND / steps
            _add(integrated, rows_N[tokens], code_NK * (total_ND @ directions_KD.T), least)
            error.index_add_(0, rows_N[tokens], (error_ND * total_ND).sum(dim=1))
            empty[which] = run.metric(centre_D.expand_as(x_ND))
    return Effects(integrated, gradient, error, clean, empty)


@torch.no_grad()
def ablated(
    crosscoder: Crosscoder,
    lineup: Lineup,
    items: Items,
    readings: Readings,
    model: int,
    sets: Sequence[Sequence[int]],
    mean: bool = False,
) -> Tensor:
    """D without some latents, exactly, ``[S, I]``: what they write is taken out of the residual stream.

    Args:
        crosscoder: trained.
        lineup: its models.
        items: what is asked.
        readings: of the items' rows.
        model: which of the models.
        sets: latents that are taken out together.
        mean: put each latent's mean over these tokens in its place, not zero.
    """
    directions_KD = crosscoder.directions(model).detach().cpu()
    every = sorted({i for chosen in sets for i in chosen})
    place = {latent: j for j, latent in enumerate(every)}
    device = crosscoder.bias_K.device
    code_NJ = torch.cat([crosscoder.encode(part.to(device))[:, every].cpu() for part in readings.x_NMD.split(4096)])
    level_J = code_NJ.mean(dim=0) if mean else torch.zeros(len(every))
    out = torch.empty(len(sets), len(items))
    with lineup.open(model) as reader:
        for batch, which, tokens in _prepared(readings, reader):
            x_ND = readings.x_NMD[tokens, model]
            run = _Run(reader, items, batch, which, reader.read(batch.ids_RT, batch.attention_RT))
            for s, chosen in enumerate(sets):
                at = [place[latent] for latent in chosen]
                gone_NJ = code_NJ[tokens][:, at] - level_J[at]
                out[s, which] = run.metric(x_ND - gone_NJ @ directions_KD[list(chosen)])
    return out


@torch.no_grad()
def differences(lineup: Lineup, items: Items, model: int, batch_tokens: int) -> Tensor:
    """D of a model as it is, ``[I]``, without a crosscoder."""
    empty = Readings(items.rows, torch.empty(0), batch_tokens)
    out = torch.empty(len(items))
    with lineup.open(model) as reader:
        for batch, which, _ in _prepared(empty, reader):
            ends = items.ends_I[which].to(reader.device)
            out[which] = items.differences(reader.logits(batch.ids_RT, batch.attention_RT, ends), which).cpu()
    return out


class _Run:
    """One batch of items in one model, with whatever the layer is given."""

    def __init__(self, reader: Reader, items: Items, rows: Rows, which: slice, x_BTD: Tensor) -> None:
        self._reader, self._items, self._rows, self._which, self._x_BTD = reader, items, rows, which, x_BTD
        self._ends = items.ends_I[which].to(reader.device)

    def _differences(self, x_BTD: Tensor) -> Tensor:
        logits = self._reader.logits_from(x_BTD, self._rows.ids_RT, self._rows.attention_RT, self._ends)
        return self._items.differences(logits, self._which)

    def metric(self, new_ND: Tensor) -> Tensor:
        """D of each row."""
        with torch.no_grad():
            return self._differences(replaced(self._x_BTD, self._rows.kept_RT, new_ND)).cpu()

    def gradient(self, new_ND: Tensor) -> tuple[Tensor, Tensor]:
        """D of each row and its gradient at the positions that are used, ``[B]`` and ``[N, D]``."""
        x_BTD = replaced(self._x_BTD, self._rows.kept_RT, new_ND).requires_grad_()
        with torch.enable_grad():
            d_B = self._differences(x_BTD)
            (gradient_BTD,) = torch.autograd.grad(d_B.sum(), x_BTD)
        return d_B.detach().cpu(), gradient_BTD[self._rows.kept_RT.to(gradient_BTD.device)].float().cpu()


def _prepared(readings: Readings, reader: Reader) -> Iterator[tuple[Rows, slice, slice]]:
    for batch, which, tokens in readings.batches():
        on_device = Rows(batch.ids_RT.to(reader.device), batch.attention_RT.to(reader.device), batch.kept_RT)
        yield on_device, which, tokens


def _add(total_IK: Tensor, rows_N: Tensor, effect_NK: Tensor, least: float) -> None:
    if least > 0:
        effect_NK = torch.where(effect_NK.abs() > least, effect_NK, 0.0)
    total_IK.index_add_(0, rows_N, effect_NK)
