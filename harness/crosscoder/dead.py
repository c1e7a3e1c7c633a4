"""Latents that no longer fire, and how they are made new.

Bricken et al. 2023, "Towards monosemanticity", appendix on resampling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.crosscoder.crosscoder import Crosscoder

# A new latent's encoder beside the mean of those that live: small, so that it disturbs little.
ENCODER_SHARE = 0.2


class Alive:
    """When each latent fired last.

    Attributes:
        last_K: step of the last firing; -1 before any.
    """

    def __init__(self, latents: int, window: int) -> None:
        self.last_K = torch.full((latents,), -1, dtype=torch.long)
        self._window = window

    def saw(self, code_BK: Tensor, step: int) -> None:
        """Notes which latents fired."""
        self.last_K[(code_BK > 0).any(dim=0).cpu()] = step

    def dead(self, step: int) -> Tensor:
        """Latents that did not fire for as long as the window, ``[K]``."""
        return step - self.last_K > self._window

    @torch.no_grad()
    def renew(
        self,
        crosscoder: Crosscoder,
        optimiser: torch.optim.Optimizer,
        x_BMD: Tensor,
        step: int,
        decoder_norm: float,
        generator: torch.Generator,
    ) -> int:
        """Points each dead latent at what the crosscoder misses on a token drawn by the square of its loss.

        Args:
            crosscoder: in training.
            optimiser: its moments of these latents start anew.
            x_BMD: activations the tokens are drawn from.
            step: now.
            decoder_norm: norm of a first direction in each model, on average over models.
            generator: draws.

        Returns:
            How many were made new.
        """
        dead = self.dead(step).nonzero()[:, 0].to(x_BMD.device)
        if not len(dead):
            return 0
        scaled_BMD = crosscoder.scaled(x_BMD)
        error_BMD = scaled_BMD - crosscoder.reconstructed(crosscoder.rectified(scaled_BMD))
        weight_B = error_BMD.square().sum(dim=(1, 2)).cpu().square()
        if not bool(weight_B.sum() > 0):
            return 0
        drawn = torch.multinomial(weight_B, len(dead), replacement=True, generator=generator)
        unit_JMD = torch.nn.functional.normalize(error_BMD[drawn.to(error_BMD.device)].flatten(1), dim=1).view(
            -1, *error_BMD.shape[1:]
        )
        living = torch.ones(crosscoder.shape.latents, dtype=torch.bool, device=dead.device)
        living[dead] = False
        norms = crosscoder.encoder_MDK[:, :, living].flatten(0, 1).norm(dim=0)
        size = float(norms.mean()) if len(norms) else 1.0
        crosscoder.decoder_KMD[dead] = unit_JMD * decoder_norm * crosscoder.shape.models**0.5
        crosscoder.encoder_MDK[:, :, dead] = ENCODER_SHARE * size * unit_JMD.permute(1, 2, 0)
        crosscoder.bias_K[dead] = 0.0
        for parameter, index in (
            (crosscoder.decoder_KMD, (dead,)),
            (crosscoder.encoder_MDK, (slice(None), slice(None), dead)),
            (crosscoder.bias_K, (dead,)),
        ):
            state = optimiser.state[parameter]
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment][index] = 0.0
        self.last_K[dead.cpu()] = step
        return len(dead)
