"""A metric as a share of what lies between the floor and the model, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval over prompts."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Share:
    """A metric as a share of what lies between the floor and the model.

    Attributes:
        full_N: the model's metric, prompt by prompt.
        floor_N: without any head.
    """

    full_N: Tensor
    floor_N: Tensor

    @property
    def gap(self) -> float:
        """Between the floor and the model."""
        return float(self.full_N.mean() - self.floor_N.mean())

    def of(self, values_N: Tensor) -> float:
        """The share."""
        return (float(values_N.mean()) - float(self.floor_N.mean())) / self.gap

    def interval(self, values_N: Tensor, seed: int) -> Interval:
        """With the percentile bootstrap over prompts: circuit, model and floor are drawn together."""
        draws = np.random.default_rng(seed).integers(0, len(values_N), (_RESAMPLES, len(values_N)))
        means = [v.numpy()[draws].mean(axis=1) for v in (values_N, self.full_N, self.floor_N)]
        gaps = means[1] - means[2]
        shares = (means[0] - means[2]) / np.where(gaps == 0, np.nan, gaps)
        low, high = np.nanquantile(shares, [0.025, 0.975])
        return Interval(self.of(values_N), float(low), float(high))
