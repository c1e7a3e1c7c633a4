"""What a crosscoder is trained on, term by term.

Bayazit et al. 2025, section 2; Bussmann et al. 2024 (BatchTopK), Gao et al. 2024 (the term for dead latents).

Axes as in `harness.crosscoder.crosscoder`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.crosscoder.crosscoder import Crosscoder


@dataclass(frozen=True)
class Losses:
    """The terms of one batch; `total` is what is differentiated.

    Attributes:
        total: their sum.
        reconstruction: squared distance to the activations, summed over width and models, mean over tokens.
        sparsity: weighted L1 term; 0 for ``batch_topk``.
        auxiliary: weighted term for dead latents.
        code_BK: the code, detached.
        error_BMD: what the reconstruction misses, in the scaled space, detached.
        least: smallest value times norm that was left on; None if nothing was, or for ``l1``.
    """

    total: Tensor
    reconstruction: Tensor
    sparsity: Tensor
    auxiliary: Tensor
    code_BK: Tensor
    error_BMD: Tensor
    least: Tensor | None


def losses(crosscoder: Crosscoder, x_BMD: Tensor, l1: float, k: int, dead_K: Tensor | None, auxiliary: float) -> Losses:
    """All terms on one batch.

    Args:
        crosscoder: in training.
        x_BMD: activations.
        l1: factor of the sparsity term, for ``l1``.
        k: latents a token keeps on average, for ``batch_topk``.
        dead_K: latents that are dead; None for no term for them.
        auxiliary: factor of that term.
    """
    scaled_BMD = crosscoder.scaled(x_BMD)
    positive_BK = crosscoder.rectified(scaled_BMD)
    # Summed norms, not the norm of all models together: the sum is what lets a latent belong to one model.
    weight_K = crosscoder.norms_KM.sum(dim=1)
    least = None
    if crosscoder.shape.kind == "batch_topk":
        code_BK, least = strongest(positive_BK, weight_K, k)
        sparsity = positive_BK.new_zeros(())
    else:
        code_BK = positive_BK
        sparsity = l1 * (code_BK @ weight_K).mean()
    error_BMD = scaled_BMD - crosscoder.reconstructed(code_BK)
    reconstruction = error_BMD.square().sum(dim=(1, 2)).mean()
    aux = reconstruction.new_zeros(())
    if dead_K is not None and bool(dead_K.any()):
        aux = auxiliary * _missed_by_the_dead(crosscoder, positive_BK, error_BMD.detach(), dead_K, weight_K)
    total = reconstruction + sparsity + aux
    return Losses(total, reconstruction, sparsity, aux, code_BK.detach(), error_BMD.detach(), least)


def strongest(positive_BK: Tensor, weight_K: Tensor, k: int) -> tuple[Tensor, Tensor | None]:
    """Turns off all but the ``k * B`` latents of a batch with the largest value times norm.

    Latents that tie with the last of them stay on.

    Returns:
        The code, and the smallest value times norm that is on; None if none is.
    """
    with torch.no_grad():
        score_BK = positive_BK * weight_K
        on = score_BK[score_BK > 0]
        kept = k * len(positive_BK)
        if not len(on):
            return positive_BK, None
        # A selection, not a sort: on a CPU the sort would cost more than everything else.
        least = on.kthvalue(len(on) - kept + 1).values if len(on) > kept else on.min()
        mask_BK = score_BK >= least
    return positive_BK * mask_BK, least


def _missed_by_the_dead(
    crosscoder: Crosscoder, positive_BK: Tensor, error_BMD: Tensor, dead_K: Tensor, weight_K: Tensor
) -> Tensor:
    """How badly the strongest dead latents of each token explain what the live ones miss."""
    dead = dead_K.nonzero()[:, 0]
    count = min(len(dead), max(1, crosscoder.shape.width // 2))
    value_BJ = positive_BK[:, dead]
    best_BC = (value_BJ * weight_K[dead]).topk(count, dim=1).indices
    kept_BJ = torch.zeros_like(value_BJ).scatter(1, best_BC, value_BJ.gather(1, best_BC))
    guess_BX = kept_BJ @ crosscoder.decoder_KMD[dead].flatten(1)
    return (guess_BX - error_BMD.flatten(1)).square().sum(dim=1).mean()
