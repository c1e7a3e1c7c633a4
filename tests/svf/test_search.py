"""The cross-entropy method against problems whose best mixture is known."""

import pytest
import torch

from harness.svf.search import SearchSettings, Value, normalised, search


def settings(**changes):
    return SearchSettings(**{"population": 32, "elite": 0.2, "iterations": 25, "std": 0.5, "seed": 0, **changes})


def towards(target_GK):
    return lambda weights_GK: Value(-float((weights_GK - target_GK).abs().sum()))


@pytest.mark.parametrize("target", [[[0.2, 0.3, 0.5]], [[1.0, 0.0, 0.0]], [[0.0, 0.5, 0.5], [0.7, 0.3, 0.0]]])
def test_it_finds_the_best_mixture(target):
    target_GK = torch.tensor(target, dtype=torch.float64)
    chosen, iterates = search(len(target), 3, towards(target_GK), towards(target_GK), settings())
    assert len(iterates) == 26
    assert (chosen.weights_GK - target_GK).abs().max() < 0.05
    best = [i.best.score for i in iterates]
    assert best == sorted(best)


def test_what_is_proposed_is_always_a_mixture():
    seen = []

    def value(weights_GK):
        seen.append(weights_GK)
        return Value(-float(weights_GK[:, 0].sum()))  # pushes every first weight to 0

    search(4, 2, value, value, settings(std=2.0, iterations=8))
    drawn = torch.stack(seen)
    assert torch.isfinite(drawn).all()
    assert (drawn >= 0).all()
    torch.testing.assert_close(drawn.sum(-1), torch.ones(drawn.shape[:2], dtype=torch.float64))


def test_the_iterate_is_chosen_on_what_is_held_back():
    """The shots want the first expert, the rest the second: what fits the shots is not taken."""
    first = towards(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    second = towards(torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    chosen, iterates = search(1, 2, first, second, settings())
    assert iterates[-1].weights_GK[0, 0] > 0.95
    assert chosen is max(iterates, key=lambda i: i.held_back.score)
    assert chosen.weights_GK[0, 0] < 0.6


def test_equal_scores_are_decided_by_the_likelihood_and_then_by_the_earlier():
    by_likelihood, _ = search(
        1, 2, lambda w: Value(0.5, float(w[0, 1])), lambda w: Value(0.5, float(w[0, 1])), settings()
    )
    assert by_likelihood.weights_GK[0, 1] > 0.95
    nothing, iterates = search(1, 2, lambda w: Value(0.5), lambda w: Value(0.5), settings(iterations=3))
    assert nothing is iterates[0]
    assert nothing.weights_GK.tolist() == [[0.5, 0.5]]


def test_it_is_seeded_and_asks_nothing_twice():
    def run(seed):
        asked = []

        def value(weights_GK):
            asked.append(weights_GK.numpy().tobytes())
            return Value(float(weights_GK[0, 0] > 0.9))

        chosen, _ = search(1, 2, value, lambda w: Value(0.0, float(w[0, 0])), settings(seed=seed))
        return chosen.weights_GK.tolist(), asked

    assert run(1) == run(1)
    assert run(1)[1] != run(2)[1]
    asked = run(1)[1]
    assert len(asked) == len(set(asked)) < 25 * 31


def test_normalised():
    assert normalised(torch.tensor([[1.0, 3.0], [2.0, 0.0]])).tolist() == [[0.25, 0.75], [1.0, 0.0]]


@pytest.mark.parametrize("wrong", [{"population": 1}, {"iterations": 0}, {"std": 0.0}, {"elite": 0.0}, {"elite": 1.5}])
def test_settings_that_cannot_work(wrong):
    with pytest.raises(ValueError, match="population"):
        settings(**wrong)
