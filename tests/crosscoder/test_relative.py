"""RelIE, classes, flow and the choice of checkpoints, against values by hand."""

import math

import pytest
import torch

from harness.crosscoder.analysis import correlation
from harness.crosscoder.choose import Course, choose, cka, mean_cosine
from harness.crosscoder.flow import flow
from harness.crosscoder.relative import class_names, class_of, pairwise, relative, shares
from harness.statistics import mean_interval


class TestShares:
    def test_formula(self):
        assert torch.allclose(shares(torch.tensor([[1.0, -3.0]])), torch.tensor([[0.25, 0.75]]))
        assert torch.allclose(shares(torch.tensor([[-2.0, 1.0, 1.0]])), torch.tensor([[0.5, 0.25, 0.25]]))

    def test_no_effect_is_even(self):
        # The released code says 0.5 three times, and calls the latent shared by all.
        assert torch.allclose(shares(torch.zeros(1, 3)), torch.full((1, 3), 1 / 3))

    def test_models_in_another_order_give_shares_in_that_order(self):
        effect = torch.randn(10, 3)
        assert torch.allclose(shares(effect[:, [2, 0, 1]]), shares(effect)[:, [2, 0, 1]])

    def test_pairwise(self):
        found = pairwise(torch.tensor([[0.2, 0.3, 0.5]]))
        assert {k: round(float(v), 4) for k, v in found.items()} == {(0, 1): 0.6, (0, 2): 0.7143, (1, 2): 0.625}


@pytest.mark.parametrize(
    ("share", "kind"),
    [
        ([0.8, 0.1, 0.1], "A"),
        ([0.1, 0.1, 0.8], "C"),
        ([0.34, 0.33, 0.33], "A-B-C"),
        ([0.5, 0.45, 0.05], "A-B"),
        ([0.5, 0.05, 0.45], "A-C"),
        ([0.05, 0.5, 0.45], "B-C"),
        ([0.6, 0.2, 0.2], "other"),
        ([0.7, 0.29, 0.01], "other"),
    ],
)
def test_classes_of_three(share, kind):
    assert class_of(share, "ABC") == kind


def test_classes_of_four():
    assert class_of([0.25] * 4, "ABCD") == "A-B-C-D"
    assert class_of([0.32, 0.32, 0.31, 0.05], "ABCD") == "A-B-C"
    assert class_of([0.75, 0.25, 0, 0], "ABCD") == "A"
    names = class_names("ABCD")
    generator = torch.Generator().manual_seed(0)
    for share in shares(torch.rand(300, 4, generator=generator) ** 3).tolist():
        assert class_of(share, "ABCD") in names


def test_classes_of_two():
    kinds = [class_of([1 - s, s], "AB") for s in (0.1, 0.35, 0.5, 0.69, 0.9)]
    assert kinds == ["A", "A-B", "A-B", "A-B", "B"]
    assert class_names("AB") == ["A", "B", "A-B", "other", "unclassed"]
    assert class_names("ABC") == ["A", "B", "C", "A-B", "A-C", "B-C", "A-B-C", "other", "unclassed"]


def drawn(means, spread, items=200, seed=0):
    """Effects of one latent a row of ``means``, item by item, in each model."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(means[0]), items, len(means), generator=generator)
    return [spread * noise[m] + torch.tensor([row[m] for row in means]) for m in range(len(means[0]))]


class TestRelative:
    MEANS = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0), (0.005, 0.0, 0.0))

    def found(self, spread=0.1, floor=0.02):
        return relative(drawn(self.MEANS, spread), range(200), "ABC", floor, 400, 0)

    def test_classes_need_an_effect(self):
        found = self.found()
        assert found.classes == ("A", "B", "A-B-C", "unclassed", "unclassed")
        assert float(found.effect_KM[1, 1]) == pytest.approx(-1.0, abs=0.05)
        assert all(float(found.certainty_K[i]) > 0.95 for i in range(2))
        assert found.of_class("B") == [1]

    def test_noise_is_unclassed_and_without_the_floor_a_small_effect_is_not(self):
        generator = torch.Generator().manual_seed(3)
        noise = [torch.randn(200, 500, generator=generator) for _ in range(3)]
        found = relative(noise, range(200), "ABC", 0.0, 400, 0)
        # Three intervals of 95% each: about one latent in seven is called resolved somewhere.
        assert 0.05 < sum(c != "unclassed" for c in found.classes) / 500 < 0.25
        assert self.found(spread=0.01, floor=0.0).classes[4] == "A"

    def test_intervals_cover_the_mean_as_a_t_test_does(self):
        effect = drawn(((0.3, 0.0),), 1.0, items=400)
        found = relative(effect, range(400), "AB", 0.0, 4000, 0)
        expected = mean_interval(effect[0][:, 0].tolist())
        assert float(found.low_KM[0, 0]) == pytest.approx(expected.low, abs=0.01)
        assert float(found.high_KM[0, 0]) == pytest.approx(expected.high, abs=0.01)

    def test_items_of_one_cluster_count_as_one(self):
        effect = drawn(((0.3, 0.0),), 1.0, items=40)
        many = [e.repeat_interleave(10, dim=0) for e in effect]
        clustered = relative(many, [i // 10 for i in range(400)], "AB", 0.0, 2000, 0)
        alone = relative(effect, range(40), "AB", 0.0, 2000, 0)
        assert torch.allclose(clustered.low_KM, alone.low_KM, atol=1e-5)
        naive = relative(many, range(400), "AB", 0.0, 2000, 0)
        assert float(naive.high_KM[0, 0] - naive.low_KM[0, 0]) < 0.5 * float(alone.high_KM[0, 0] - alone.low_KM[0, 0])

    def test_as_many_latents_as_in_the_paper(self):
        effect = [torch.randn(4, 16384, generator=torch.Generator().manual_seed(m)) for m in range(3)]
        found = relative(effect, range(4), "ABC", 0.02, 400, 0)
        alone = relative([e[:, 700:701] for e in effect], range(4), "ABC", 0.02, 400, 0)
        assert torch.allclose(found.low_KM[700], alone.low_KM[0])

    def test_shares_lie_in_their_intervals(self):
        found = self.found(spread=1.0)
        assert bool((found.share_low_KM <= found.share_high_KM).all())
        assert float(found.share_KM.sum(dim=1).sub(1).abs().max()) < 1e-5

    def test_chosen_latents_alone_have_classes(self):
        found = relative(drawn(self.MEANS, 0.1), range(200), "ABC", 0.02, 200, 0, chosen=[1])
        assert found.classes == ("unclassed", "B", "unclassed", "unclassed", "unclassed")


def test_flow_by_hand():
    means = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 1.0, 1.0), (1.0, 1.0, 1.0), (0.0, 0.0, 2.0))
    found = relative(drawn(means, 0.001), range(200), "ABC", 0.01, 200, 0)
    first, second = flow(found, "ABC")
    assert (first.emerged, first.stayed, first.lost) == (2, 1, 1)
    assert (second.emerged, second.stayed, second.lost) == (1, 2, 1)
    assert first.emerged_effect == pytest.approx(2.0, abs=0.01)
    assert second.emerged_effect == pytest.approx(2.0, abs=0.01)
    assert second.lost_effect == pytest.approx(1.0, abs=0.01)


def course_of(accuracy, likeness=None):
    count = len(accuracy)
    cells = tuple(mean_interval([1.0] * round(100 * a) + [0.0] * round(100 - 100 * a)) for a in accuracy)
    like = torch.eye(count) if likeness is None else torch.tensor(likeness)
    names = tuple(f"s{i}" for i in range(count))
    return Course(names, {"g": cells}, {"g": 100}, {"cka": like, "cosine": like}, 1)


class TestChoice:
    def test_before_the_rise_behind_it_and_the_last(self):
        assert choose(course_of([0.5, 0.52, 0.55, 0.95, 0.97, 0.98])).indices == (2, 3, 5)

    def test_a_slow_rise_is_waited_for(self):
        assert choose(course_of([0.5, 0.7, 0.8, 0.95, 0.98])).indices == (0, 3, 4)

    def test_where_the_rise_ends_at_the_last_the_least_alike_takes_its_place(self):
        like = [[1, 0.9, 0.2, 0.1], [0.9, 1, 0.5, 0.3], [0.2, 0.5, 1, 0.3], [0.1, 0.3, 0.3, 1]]
        found = choose(course_of([0.4, 0.5, 0.5, 0.9], like))
        assert found.indices == (0, 2, 3)
        assert "least like" in found.why

    @pytest.mark.parametrize("accuracy", [[0.9, 0.8, 0.7], [0.52, 0.51, 0.5, 0.505], [0.5, 0.5, 0.5]])
    def test_where_nothing_rises_the_least_alike_is_taken(self, accuracy):
        found = choose(course_of(accuracy))
        assert found.indices[0] < found.indices[1] < found.indices[2] == len(accuracy) - 1

    def test_too_few(self):
        with pytest.raises(ValueError, match="three checkpoints"):
            choose(course_of([0.5, 0.9]))


class TestLikeness:
    def test_cka_knows_rotations_and_scales(self):
        x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
        rotation, _ = torch.linalg.qr(torch.randn(8, 8))
        assert cka(x, 3 * x @ rotation + 5) == pytest.approx(1.0, abs=1e-6)
        assert cka(x, torch.randn(300, 8)) < 0.2

    def test_cka_equals_its_form_by_kernels(self):
        x, y = torch.randn(40, 5).double(), torch.randn(40, 6).double()
        centre = torch.eye(40).double() - 1 / 40
        k, m = (centre @ (t @ t.T) @ centre for t in (x, y))
        assert cka(x, y) == pytest.approx(float((k * m).sum() / (k.norm() * m.norm())), rel=1e-9)

    def test_cosine(self):
        x = torch.randn(30, 8)
        assert mean_cosine(x, 2 * x) == pytest.approx(1.0)
        assert mean_cosine(x, -x) == pytest.approx(-1.0)


def test_correlation():
    x, y = torch.randn(20), torch.randn(20)
    assert correlation(x, y) == pytest.approx(float(torch.corrcoef(torch.stack([x, y]))[0, 1]), abs=1e-5)
    assert math.isnan(correlation(x, torch.ones(20)))
