import numpy as np
import pytest

from harness.stethoscope.modality import LEAST, modality, peaks
from harness.stethoscope.weights import BINS


def histogram(values):
    return np.histogram(values, BINS, range=(-1, 1))[0]


def cloud(places, width=0.05, n=20_000, seed=0):
    generator = np.random.default_rng(seed)
    return generator.choice(places, n) + width * generator.standard_normal(n)


@pytest.mark.parametrize(
    ("places", "expected"), [([0.0], 1), ([-0.3, 0.3], 2), ([-0.5, 0.0, 0.5], 3), ([-1.0, 1.0], 2)]
)
def test_counts_clouds_where_they_are(places, expected):
    found = modality(histogram(cloud(places)))
    assert len(found.peaks) == expected
    if max(places) < 1:
        assert found.peaks == pytest.approx(places, abs=0.03)
    assert (found.p < 0.01) == (expected > 1)


def test_no_peak_of_its_own_within_a_bin():
    """Steps of bfloat16: many values that occur again and again, but one hill."""
    steps = np.round(cloud([0.0], width=0.3) / 0.01) * 0.01
    found = modality(histogram(steps))
    assert len(found.peaks) == 1
    assert found.p > 0.05


def test_flat_is_one_peak_and_scale_does_not_matter():
    flat = np.full(BINS, 50)
    assert len(peaks(flat)) == 1
    counts = histogram(cloud([-0.3, 0.3]))
    assert peaks(counts * 7) == peaks(counts)


def test_small_bump_is_noise_by_rule():
    main, bump = histogram(cloud([0.0], n=100_000)), histogram(cloud([0.6], n=2_000))
    assert len(peaks(main + bump)) == 1
    assert len(peaks(main + 10 * bump)) == 2


def test_too_few_to_tell():
    assert modality(np.zeros(BINS, dtype=np.int64)) is None
    counts = np.zeros(BINS, dtype=np.int64)
    counts[100] = LEAST - 1
    assert modality(counts) is None
