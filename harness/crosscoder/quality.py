"""How well a crosscoder stands for its models, on tokens that it was not trained on.

Axes: N tokens, M models, D width, K latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.crosscoder.crosscoder import Crosscoder
from harness.crosscoder.lineup import Lineup, Reader
from harness.crosscoder.readings import Readings, replaced
from harness.crosscoder.tokens import Rows

PART = 4096  # tokens whose code is in memory at a time


@dataclass(frozen=True)
class Spliced:
    """What a model loses when its activations are replaced by their reconstruction.

    Attributes:
        clean: cross-entropy in nats a token.
        spliced: the same with the reconstruction in place; positions that are left out of training stay as they are.
        zeroed: the same with zeros in its place.
    """

    clean: float
    spliced: float
    zeroed: float

    @property
    def increase(self) -> float:
        """What the reconstruction costs, in nats."""
        return self.spliced - self.clean

    @property
    def recovered(self) -> float:
        """Share of what zeros cost that the reconstruction saves."""
        return 1 - (self.spliced - self.clean) / (self.zeroed - self.clean)


@dataclass(frozen=True)
class Quality:
    """A crosscoder on held-out tokens.

    Attributes:
        tokens: how many.
        explained: for each model, 1 - squared error / squared distance from the mean, both summed over all tokens.
        l0: latents that are on at a token, on average.
        dead: share of the latents that are on at none.
        rate_K: share of the tokens where each latent is on.
        mean_K: its mean value there.
        spliced: cross-entropies, model by model.
    """

    tokens: int
    explained: tuple[float, ...]
    l0: float
    dead: float
    rate_K: Tensor
    mean_K: Tensor
    spliced: tuple[Spliced, ...]

    @property
    def live_K(self) -> Tensor:
        """Latents that are on somewhere."""
        return self.rate_K > 0

    def record(self) -> dict[str, Any]:
        """For JSON, without what is told latent by latent."""
        losses = [{**asdict(s), "increase": s.increase, "recovered": s.recovered} for s in self.spliced]
        return {
            "tokens": self.tokens,
            "explained": list(self.explained),
            "l0": self.l0,
            "dead": self.dead,
            "cross_entropy": losses,
        }


def codes(crosscoder: Crosscoder, x_NMD: Tensor) -> Tensor:
    """The code of many tokens, ``[N, K]`` on the CPU."""
    device = crosscoder.bias_K.device
    return torch.cat([crosscoder.encode(part.to(device)).cpu() for part in x_NMD.split(PART)])


@torch.no_grad()
def quality(crosscoder: Crosscoder, lineup: Lineup, readings: Readings) -> Quality:
    """Looks at a crosscoder on some tokens.

    Raises:
        ValueError: if there are no tokens.
    """
    x_NMD = readings.x_NMD
    if not len(x_NMD):
        raise ValueError("no tokens to look at the crosscoder on")
    device = crosscoder.bias_K.device
    error_M = torch.zeros(x_NMD.shape[1], dtype=torch.float64)
    on_K = torch.zeros(crosscoder.shape.latents, dtype=torch.float64)
    sum_K = torch.zeros_like(on_K)
    for part in x_NMD.split(PART):
        code = crosscoder.encode(part.to(device))
        missed = (crosscoder.decode(code).cpu() - part).double().square().sum(dim=(0, 2))
        error_M += missed
        on_K += (code > 0).sum(dim=0).cpu()
        sum_K += code.sum(dim=0).cpu()
    mean_MD = x_NMD.mean(dim=0)
    spread_M = torch.zeros_like(error_M)
    for part in x_NMD.split(PART):
        spread_M += (part - mean_MD).double().square().sum(dim=(0, 2))
    rate_K = on_K / len(x_NMD)
    spliced = []
    for m in range(len(lineup.members)):
        with lineup.open(m) as reader:
            spliced.append(_spliced(crosscoder, reader, readings, m))
    return Quality(
        tokens=len(x_NMD),
        explained=tuple((1 - error_M / spread_M).tolist()),
        l0=float(rate_K.sum()),
        dead=float((on_K == 0).double().mean()),
        rate_K=rate_K.float(),
        mean_K=(sum_K / on_K.clamp(min=1)).float(),
        spliced=tuple(spliced),
    )


def _spliced(crosscoder: Crosscoder, reader: Reader, readings: Readings, m: int) -> Spliced:
    totals = [0.0, 0.0, 0.0]
    count = 0
    for batch, _, tokens in readings.batches():
        x_BMD = readings.x_NMD[tokens]
        y_ND = crosscoder.decode(crosscoder.encode(x_BMD.to(crosscoder.bias_K.device)))[:, m]
        batch = Rows(batch.ids_RT.to(reader.device), batch.attention_RT.to(reader.device), batch.kept_RT)
        x_BTD = reader.read(batch.ids_RT, batch.attention_RT)
        for i, new_ND in enumerate((x_BMD[:, m], y_ND, torch.zeros_like(y_ND))):
            logits = reader.logits_from(replaced(x_BTD, batch.kept_RT, new_ND), batch.ids_RT, batch.attention_RT)
            loss, n = _cross_entropy(logits, batch)
            totals[i] += loss
        count += n
    return Spliced(*(total / max(count, 1) for total in totals))


def _cross_entropy(logits_BTV: Tensor, rows: Rows) -> tuple[float, int]:
    """Summed over the tokens that are predicted, and their number."""
    predicted_BT = rows.attention_RT[:, 1:].bool()
    losses = F.cross_entropy(logits_BTV[:, :-1][predicted_BT], rows.ids_RT[:, 1:][predicted_BT], reduction="sum")
    return float(losses), int(predicted_BT.sum())


def relative_norms(crosscoder: Crosscoder) -> Tensor:
    """RelDec: each latent's decoder norm in each model over their sum, ``[K, M]``; rows sum to 1.

    Lindsey et al. 2024. In the scaled space: norms of other scales would call whichever model is loudest the owner.
    """
    norms_KM = crosscoder.norms_KM.detach().cpu()
    return norms_KM / norms_KM.sum(dim=1, keepdim=True).clamp(min=torch.finfo(norms_KM.dtype).tiny)


def decoder_cosines(crosscoder: Crosscoder) -> Tensor:
    """Cosine between the directions of one latent in each two models, ``[K, M, M]``."""
    unit_KMD = F.normalize(crosscoder.decoder_KMD.detach(), dim=2)
    return (unit_KMD @ unit_KMD.transpose(1, 2)).cpu()


def agreement(one_NK: Tensor, other_NK: Tensor, live: Sequence[Tensor], least: float = 0.9) -> float:
    """Share of one crosscoder's live latents that another has too.

    A latent is there if some latent of the other correlates with it over tokens by at least ``least``.
    """
    first, second = (_standardised(code[:, on]) for code, on in zip((one_NK, other_NK), live, strict=True))
    if not first.shape[1] or not second.shape[1]:
        return 0.0
    best = [(part.T @ second).amax(dim=1) for part in first.split(1024, dim=1)]
    return float((torch.cat(best) >= least).float().mean())


def _standardised(code_NK: Tensor) -> Tensor:
    centred = code_NK - code_NK.mean(dim=0)
    return F.normalize(centred, dim=0)
