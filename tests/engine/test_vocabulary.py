"""Searching by groups finds what a search through everything finds."""

import pytest
import torch

from harness.engine.vocabulary import largest, most_likely


def _layouts(vocabulary):
    torch.manual_seed(vocabulary)
    return torch.randn(7, vocabulary), torch.randn(vocabulary, 7).T


@pytest.mark.parametrize(("vocabulary", "k"), [(64, 5), (1000, 3), (6401, 50), (50257, 50)])
def test_largest_is_topk(vocabulary, k):
    for scores in _layouts(vocabulary):
        expected, (values, places) = scores.topk(k), largest(scores, k)
        assert values.equal(expected.values)
        assert places.equal(expected.indices)


@pytest.mark.parametrize("vocabulary", [1, 63, 64, 65, 1000, 50257])
def test_most_likely_is_argmax(vocabulary):
    for scores in _layouts(vocabulary):
        values, places = most_likely(scores)
        assert places.equal(scores.argmax(dim=-1))
        assert values.equal(scores.amax(dim=-1))


@pytest.mark.parametrize("equal", [(3, 70, 129), (70, 128), (129, 130), (0, 199)])
def test_the_first_of_equals_wins(equal):
    scores = torch.zeros(2, 200)
    scores[:, list(equal)] = 1.0
    assert most_likely(scores)[1].tolist() == [equal[0]] * 2


@pytest.mark.parametrize("place", [0, 100, 199])
def test_nan_counts_as_the_largest(place):
    scores = torch.randn(1, 200)
    scores[0, place] = float("nan")
    values, places = most_likely(scores)
    assert values.isnan().all()
    assert places.tolist() == [place]
