"""Plots of the report: labels that can be read, round numbers on the axes."""

import itertools
import random

import pytest

from harness.report.html.labels import LETTER, RADIUS, TALL, place_labels
from harness.report.html.plots import _log_steps

INSIDE = (48.0, 24.0, 640.0, 312.0)


def boxes(places, texts):
    return [(x, y - TALL + 2, x + LETTER * len(t) + 2, y + 2) for (x, y, _), t in zip(places, texts, strict=True)]


def apart(one, other):
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("spread", [0.0, 3.0, 30.0, 200.0])
def test_no_label_covers_another_or_a_point(spread):
    draw = random.Random(1)
    points = [(300 + draw.uniform(-spread, spread), 160 + draw.uniform(-spread / 2, spread / 2)) for _ in range(12)]
    texts = [str(i) for i in range(1, 13)]
    found = boxes(place_labels(points, texts, INSIDE), texts)
    circles = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in points]
    assert all(apart(a, b) for a, b in itertools.combinations(found, 2))
    assert all(apart(label, circle) for label in found for circle in circles)
    assert all(b[0] >= INSIDE[0] and b[1] >= INSIDE[1] and b[2] <= INSIDE[2] and b[3] <= INSIDE[3] for b in found)


def test_a_label_alone_stands_beside_its_point():
    ((x, y, far),) = place_labels([(100.0, 100.0)], ["1"], INSIDE)
    assert 0 < x - 100 < 12
    assert abs(y - 100) < 12
    assert not far
    ((x, _, _),) = place_labels([(638.0, 100.0)], ["1"], INSIDE)
    assert x < 638  # there is no room to its right


@pytest.mark.parametrize(
    ("low", "high"), [(0.0031, 0.0078), (0.0011, 0.0030), (1.0, 1.6), (0.9, 1100.0), (70.0, 160.0)]
)
def test_an_axis_has_several_round_numbers(low, high):
    found = _log_steps(low, high)
    assert len(found) >= 2
    assert all(low <= v <= high for v in found)
    assert found == sorted(found)
    assert all(float(f"{v:.2g}") == pytest.approx(v) for v in found)
