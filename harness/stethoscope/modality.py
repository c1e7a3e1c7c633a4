"""How many peaks a histogram of relative changes has, judged by rule.

The paper reads "one peak" and "two peaks" off its figure 3 by eye. Here two statistics stand for it:
Hartigan's dip with its p-value, and a count of peaks of the smoothed histogram.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from harness.stethoscope.dip import dip_test

SMOOTH = 3.0  # bins: standard deviation of the kernel
PROMINENCE = 0.05  # of the highest peak
LEAST = 1000  # elements: the smoothed histogram of fewer has peaks by chance
SAMPLE = 2000  # values that the dip looks at
DRAWS = 999  # uniform samples that it is compared with
SEED = 20


@dataclass(frozen=True)
class Modality:
    """Peaks of one histogram of at least `LEAST` values.

    Attributes:
        dip: Hartigan's dip of `SAMPLE` values drawn from the histogram.
        p: its p-value against one peak; at least ``1 / (DRAWS + 1)``.
        peaks: where the smoothed histogram has peaks of at least `PROMINENCE`.
    """

    dip: float
    p: float
    peaks: tuple[float, ...]


def modality(counts: NDArray[np.int64]) -> Modality | None:
    """Judges a histogram of values between -1 and 1 with bins of equal width; None if it holds too few.

    Values are drawn from the histogram and spread evenly within their bin, so that peaks narrower than a
    bin do not count: changes of weights in bfloat16 come in steps, and each step is a peak of its own.
    """
    total = int(counts.sum())
    if total < LEAST:
        return None
    generator = np.random.default_rng(SEED)
    bins = generator.choice(len(counts), size=SAMPLE, p=counts / total)
    values = (bins + generator.random(SAMPLE)) * (2 / len(counts)) - 1
    found, p = dip_test(values, DRAWS, SEED)
    return Modality(found, p, peaks(counts))


def peaks(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Where the smoothed histogram has peaks, between -1 and 1; a rise towards an end is one as well."""
    smooth = np.pad(gaussian_filter1d(counts.astype(float), SMOOTH, mode="nearest"), 1)
    places, _ = find_peaks(smooth, prominence=PROMINENCE * smooth.max())
    return tuple(float((place - 0.5) * 2 / len(counts) - 1) for place in places)
