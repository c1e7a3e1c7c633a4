"""A crosscoder: one sparse code for what several models hold at the same layer of the same token.

Lindsey et al. 2024; Bayazit et al. 2025, "Crosscoding Through Time", section 2.

    f = relu(sum_m s_m x_m E_m + c)         one code for all models
    y_m = (f D_m + b_m) / s_m               each model's own reconstruction

``s_m`` brings every model's activations to a mean norm of sqrt(width): norms drift tenfold between checkpoints, and a
loss that sums over models would hear the loudest alone.

Axes: B tokens, M models, D width, K latents. ``encoder_MDK``, ``bias_K``, ``decoder_KMD`` and ``centre_MD`` live in
the scaled space; what goes in and comes out is as the models hold it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["l1", "batch_topk"]
KINDS = ("l1", "batch_topk")


@dataclass(frozen=True)
class Shape:
    """What a crosscoder is made of.

    Attributes:
        models: models that share the code.
        width: of their residual streams.
        latents: of the code.
        kind: ``l1`` (every positive latent is on) or ``batch_topk`` (the strongest of a batch are on).
        k: latents a token has on average; for ``batch_topk``.
    """

    models: int
    width: int
    latents: int
    kind: Kind = "l1"
    k: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"crosscoder of kind {self.kind!r}; known: {', '.join(KINDS)}")
        if min(self.models, self.width, self.latents) < 1:
            raise ValueError(f"a crosscoder of {self.models} models, {self.width} wide, with {self.latents} latents")
        if self.kind == "batch_topk" and not 0 < self.k <= self.latents:
            raise ValueError(f"k={self.k} of {self.latents} latents: batch_topk needs 1 to {self.latents}")


class Crosscoder(nn.Module):
    """The weights, the code and the reconstruction.

    Attributes:
        shape: its sizes and kind.
        scale_M: factor of each model's activations; 1 once it is folded into the weights.
        norms_of_training_KM: norms of the decoder in the scaled space, kept when the scale is folded; None before.
        threshold_K: a latent at or below it is off, each in units of its own value; 0 for ``l1``.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        m, d, k = shape.models, shape.width, shape.latents
        self.shape = shape
        self.encoder_MDK = nn.Parameter(torch.zeros(m, d, k))
        self.bias_K = nn.Parameter(torch.zeros(k))
        self.decoder_KMD = nn.Parameter(torch.zeros(k, m, d))
        self.centre_MD = nn.Parameter(torch.zeros(m, d))
        self.scale_M: Tensor
        self.threshold_K: Tensor
        self.register_buffer("scale_M", torch.ones(m))
        self.register_buffer("threshold_K", torch.zeros(k))
        self.norms_of_training_KM: Tensor | None = None

    @torch.no_grad()
    def start(self, mean_MD: Tensor, norm_M: Tensor, decoder_norm: float, generator: torch.Generator) -> None:
        """Random directions, the encoder their transpose, the centre at the data's mean.

        A centre far from the mean kills latents before they learn anything.

        Args:
            mean_MD: mean activation of each model.
            norm_M: mean norm of each model's activations.
            decoder_norm: norm of each latent's direction in each model.
            generator: draws the directions.
        """
        self.scale_M.copy_(self.shape.width**0.5 / norm_M)
        k, m, d = self.decoder_KMD.shape
        drawn = torch.randn(k, m, d, generator=generator)
        self.decoder_KMD.copy_(decoder_norm * drawn / drawn.norm(dim=-1, keepdim=True))
        self.encoder_MDK.copy_(self.decoder_KMD.permute(1, 2, 0))
        self.centre_MD.copy_(mean_MD.to(self.scale_M) * self.scale_M[:, None])

    def scaled(self, x_BMD: Tensor) -> Tensor:
        """Activations in the space of the weights."""
        return x_BMD * self.scale_M[:, None]

    def rectified(self, scaled_BMD: Tensor) -> Tensor:
        """Every latent that is positive, before any of them is turned off, ``[B, K]``."""
        flat_BX = scaled_BMD.flatten(1)
        return torch.relu(torch.addmm(self.bias_K, flat_BX, self.encoder_MDK.flatten(0, 1)))

    def reconstructed(self, code_BK: Tensor) -> Tensor:
        """What a code stands for, in the space of the weights, ``[B, M, D]``."""
        flat_BX = torch.addmm(self.centre_MD.flatten(), code_BK, self.decoder_KMD.flatten(1))
        return flat_BX.view(-1, self.shape.models, self.shape.width)

    def encode(self, x_BMD: Tensor) -> Tensor:
        """The code of some tokens, each for itself, ``[B, K]``."""
        code_BK = self.rectified(self.scaled(x_BMD))
        return torch.where(code_BK > self.threshold_K, code_BK, 0.0)

    def decode(self, code_BK: Tensor) -> Tensor:
        """What a code stands for in each model, ``[B, M, D]``."""
        return self.reconstructed(code_BK) / self.scale_M[:, None]

    def directions(self, model: int) -> Tensor:
        """What each latent writes into one model's residual stream, ``[K, D]``."""
        return self.decoder_KMD[:, model] / self.scale_M[model]

    def centre(self, model: int) -> Tensor:
        """What an empty code stands for in one model, ``[D]``."""
        return self.centre_MD[model] / self.scale_M[model]

    @property
    def norms_KM(self) -> Tensor:
        """Norm of each latent's direction in each model, in the scaled space, where models can be compared."""
        if self.norms_of_training_KM is not None:
            return self.norms_of_training_KM
        return self.decoder_KMD.norm(dim=-1)

    @torch.no_grad()
    def folded(self) -> Crosscoder:
        """The same function with its scale in the weights, for code that knows no scale.

        The threshold is one of each latent's value, and norms stay those of the scaled space: a threshold on value
        times norm would let other latents through once the scale is in the weights.

        Raises:
            ValueError: if it is folded already.
        """
        if self.norms_of_training_KM is not None:
            raise ValueError("this crosscoder's scale is in its weights already")
        out = Crosscoder(self.shape).to(self.decoder_KMD.device)
        out.encoder_MDK.copy_(self.encoder_MDK * self.scale_M[:, None, None])
        out.bias_K.copy_(self.bias_K)
        out.decoder_KMD.copy_(self.decoder_KMD / self.scale_M[:, None])
        out.centre_MD.copy_(self.centre_MD / self.scale_M[:, None])
        out.threshold_K.copy_(self.threshold_K)
        out.norms_of_training_KM = self.norms_KM.detach().clone()
        return out

    def record(self) -> dict[str, object]:
        """Its sizes and kind, for a file."""
        return asdict(self.shape)
