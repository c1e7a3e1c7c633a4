"""Cuts and regions against brute force, and the paper's own statistics."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.lora_par.regions import Regions, at_random, count, cut, overlap

SCORES = {"a": torch.tensor([[4.0, 1.0], [0.0, 2.0]]), "b": torch.tensor([3.0, 0.0])}


@pytest.mark.parametrize(
    ("theta", "taken"),
    [
        (0.1, {"a": [[1, 0], [0, 0]], "b": [0, 0]}),  # 4 of 10
        (0.4, {"a": [[1, 0], [0, 0]], "b": [0, 0]}),  # exactly its share
        (0.41, {"a": [[1, 0], [0, 0]], "b": [1, 0]}),
        (0.9, {"a": [[1, 0], [0, 1]], "b": [1, 0]}),
        (1.0, {"a": [[1, 1], [0, 1]], "b": [1, 0]}),  # what scores nothing is never taken
    ],
)
def test_the_cut_goes_through_all_parameters_together(theta, taken):
    masks = cut(SCORES, theta)
    assert {name: mask.int().tolist() for name, mask in masks.items()} == taken


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=9).filter(any),
    st.sampled_from([0.05, 0.3, 0.5, 0.77, 0.9, 0.95, 1.0]),
)
def test_no_smaller_set_holds_the_share(values, theta):
    """Brute force over all sets."""
    scores = {"x": torch.tensor(values, dtype=torch.float32)}
    mask = cut(scores, theta)["x"]
    taken = sum(v for v, m in zip(values, mask.tolist(), strict=True) if m)
    assert taken >= theta * sum(values) - 1e-9
    smaller = itertools.combinations(values, int(mask.sum()) - 1)
    assert max((sum(s) for s in smaller), default=0) < theta * sum(values)


def test_equal_scores_are_taken_in_order():
    masks = cut({"a": torch.ones(3), "b": torch.ones(3)}, 0.5)
    assert masks["a"].tolist() == [True] * 3
    assert not masks["b"].any()


@pytest.mark.parametrize("theta", [0.0, -1.0, 1.1])
def test_a_share_that_is_none(theta):
    with pytest.raises(ValueError, match="a share above 0 and up to 1"):
        cut(SCORES, theta)


def regions():
    one = {"a": torch.tensor([8.0, 7.0, 6.0, 5.0, 0.0, 0.0])}
    two = {"a": torch.tensor([0.0, 0.0, 5.0, 6.0, 7.0, 8.0])}
    return Regions.of(one, two, 1.0)


@pytest.mark.parametrize(
    ("system", "share", "active"),
    [
        ("system1", 0.0, [1, 1, 0, 0, 0, 0]),
        ("system1", 0.5, [1, 1, 1, 0, 0, 0]),  # of both, the one that matters more to System 1
        ("system1", 0.99, [1, 1, 1, 0, 0, 0]),  # rounded down
        ("system1", 1.0, [1, 1, 1, 1, 0, 0]),
        ("system2", 0.5, [0, 0, 0, 1, 1, 1]),  # and to System 2
        ("system2", 1.0, [0, 0, 1, 1, 1, 1]),
    ],
)
def test_a_stage_trains_its_own_and_a_share_of_what_both_hold(system, share, active):
    assert regions().active(system, share)["a"].int().tolist() == active


def test_a_stage_without_elements_is_an_error():
    same = {"a": torch.tensor([1.0, 2.0])}
    with pytest.raises(ValueError, match=r"system1 has no element of its own, and 0.0 of the shared ones are none"):
        Regions.of(same, same, 1.0).active("system1", 0.0)
    with pytest.raises(ValueError, match=r"share 1\.5 of the shared elements"):
        regions().active("system1", 1.5)


@pytest.mark.parametrize(
    ("one_only", "two_only", "jaccard"),
    [(0.2432, 0.2353, 0.614), (0.3800, 0.4315, 0.422), (0.3712, 0.3987, 0.444)],
)
def test_the_papers_region_statistics_hang_together(one_only, two_only, jaccard):
    """Its percentages are shares of each system, not of all elements: its Jaccard indices follow from them."""
    size = 1_000_000
    one = torch.zeros(3 * size)
    one[:size] = 1.0
    both = round(size * (1 - one_only))
    two = torch.zeros(3 * size)
    two[size - both : size - both + round(both / (1 - two_only))] = 1.0
    figures = Regions.of({"x": one}, {"x": two}, 1.0).figures()
    assert figures["system1_only"] == pytest.approx(one_only, abs=1e-5)
    assert figures["system2_only"] == pytest.approx(two_only, abs=1e-5)
    assert round(figures["jaccard"], 3) == jaccard
    assert figures["elements"] == 3 * size


def test_overlap_by_hand():
    assert overlap(8, 4, 2) == {
        "system1": 8, "system2": 4, "shared": 2, "system1_only": 0.75, "system2_only": 0.5, "jaccard": 0.2,
    }  # fmt: skip


def test_random_masks_have_the_number_and_the_seed():
    one, same, other = (at_random(SCORES, 3, seed) for seed in (0, 0, 1))
    assert count(one) == count(other) == 3
    assert all(one[name].equal(same[name]) for name in SCORES)
    drawn = [tuple(torch.cat([m.flatten() for m in at_random(SCORES, 3, s).values()]).tolist()) for s in range(200)]
    assert len(set(drawn)) == 20  # all of the 6 over 3
