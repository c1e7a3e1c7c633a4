"""REINFORCE against closed forms and against plain loops."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny
from peft import get_peft_model
from torch import nn

from harness.config.training import RLConfig
from harness.svf import SvfConfig, SvfLayer
from harness.training.objective import objective
from harness.training.reinforce import Question, reinforce

V = 5


class Bandit(nn.Module):
    """A policy that draws every token from one distribution, whatever came before."""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.3, -0.2, 0.5, 0.0, 0.1], dtype=torch.float64))

    def forward(self, input_ids, attention_mask, use_cache):
        return SimpleNamespace(logits=self.theta.expand(*input_ids.shape, V))


class Frozen:
    """Context in which a bandit is what it was at the start."""

    def __init__(self, bandit, theta):
        self.bandit, self.base = bandit, theta

    def __enter__(self):
        self.now = self.bandit.theta.data
        self.bandit.theta.data = self.base

    def __exit__(self, *_):
        self.bandit.theta.data = self.now


@pytest.mark.parametrize("reward", [1.0, -1.0])
def test_gradient_of_one_token_is_the_closed_form(reward):
    """d(-r log softmax(theta)_y) / d theta = r (pi - onehot(y))."""
    bandit = Bandit()
    loss, penalty = objective(bandit, [(0, 1)], [[2]], [reward], nullcontext, RLConfig(kl=0.0))
    loss.backward()
    pi = bandit.theta.detach().softmax(0)
    torch.testing.assert_close(bandit.theta.grad, reward * (pi - torch.eye(V, dtype=torch.float64)[2]))
    assert penalty == 0


@pytest.mark.parametrize("direction", ["new_base", "base_new"])
def test_gradient_of_the_penalty_is_the_closed_form(direction):
    """KL(pi || b): pi (log(pi / b) - KL); KL(b || pi): pi - b."""
    bandit, base = Bandit(), torch.tensor([0.0, 0.4, -0.3, 0.2, 0.6], dtype=torch.float64)
    config = RLConfig(kl=0.7, kl_direction=direction)
    loss, penalty = objective(bandit, [(0,)], [[2, 4]], [0.0], lambda: Frozen(bandit, base), config)
    loss.backward()
    pi, b = bandit.theta.detach().softmax(0), base.softmax(0)
    if direction == "new_base":
        distance = (pi * (pi / b).log()).sum()
        slope = pi * ((pi / b).log() - distance)
    else:
        distance, slope = (b * (b / pi).log()).sum(), pi - b
    assert penalty == pytest.approx(float(2 * distance))  # two tokens
    torch.testing.assert_close(bandit.theta.grad, 0.7 * 2 * slope)


@pytest.mark.parametrize("direction", ["new_base", "base_new"])
def test_batches_of_unequal_rows_equal_plain_loops(direction):
    model, base = tiny("llama").double(), tiny("llama").double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=p.dtype))
    prompts, answers, rewards = [(3, 4, 5), (6,), (7, 8)], [[9, 10], [11, 12, 13, 1], [14]], [1.0, -1.0, 1.0]

    class AsBase:
        def __enter__(self):
            self.kept = [p.data for p in model.parameters()]
            for p, q in zip(model.parameters(), base.parameters(), strict=True):
                p.data = q.data

        def __exit__(self, *_):
            for p, data in zip(model.parameters(), self.kept, strict=True):
                p.data = data

    config = RLConfig(kl=0.3, kl_direction=direction)
    loss, penalty = objective(model, prompts, answers, rewards, AsBase, config)
    loss.backward()
    got = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    expected = torch.zeros((), dtype=torch.float64)
    distances = 0.0
    for prompt, answer, reward in zip(prompts, answers, rewards, strict=True):
        ids = torch.tensor([[*prompt, *answer]])
        new, old = model(ids).logits[0].log_softmax(-1), base(ids).logits[0].detach().log_softmax(-1)
        for place, token in enumerate(answer, len(prompt)):
            expected = expected - reward * new[place - 1, token]
            one, two = (new, old) if direction == "new_base" else (old, new)
            distance = (one[place - 1].exp() * (one[place - 1] - two[place - 1])).sum()
            expected, distances = expected + 0.3 * distance, distances + float(distance)
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=1e-9, rtol=1e-9)
    assert penalty == pytest.approx(distances, rel=1e-9)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad, atol=1e-9, rtol=1e-6)


def test_the_penalty_is_nothing_before_the_first_step():
    model = get_peft_model(tiny("llama"), SvfConfig(target_modules=["gate_proj", "down_proj"]))
    inner = model.base_model.model
    _, penalty = objective(inner, [(3, 4)], [[5, 6, 1]], [1.0], model.disable_adapter, RLConfig(kl=1.0))
    assert penalty == 0
    for module in model.modules():
        if isinstance(module, SvfLayer):
            module.svf_z["default"].data.mul_(1.3)
    assert objective(inner, [(3, 4)], [[5, 6, 1]], [1.0], model.disable_adapter, RLConfig(kl=1.0))[1] > 0


def drawn(bandit):
    """Answers of one token: drawn, or the likeliest."""

    def answer(questions, temperature, seed):
        pi = bandit.theta.detach().softmax(0)
        if temperature == 0:
            return [[int(pi.argmax())] for _ in questions]
        generator = torch.Generator().manual_seed(seed)
        return [[int(torch.multinomial(pi, 1, generator=generator))] for _ in questions]

    return answer


def questions(count, right, first=0):
    return [Question((0, first + i), str(first + i), lambda a: 1.0 if a[0] == right else -1.0) for i in range(count)]


SMALL = {"batch_size": 16, "steps": 40, "learning_rate": 0.1, "clip": 1.0, "kl": 0.0, "evaluate_every": 5}


def run(bandit, right=3, **changes):
    config = RLConfig(**{**SMALL, **changes})
    base = bandit.theta.detach().clone()
    return reinforce(
        bandit, drawn(bandit), questions(64, right), questions(8, right, 100), {"theta": bandit.theta},
        lambda: Frozen(bandit, base), config,
    )  # fmt: skip


def test_the_rewarded_answer_becomes_the_likeliest_and_the_best_look_is_kept():
    bandit = Bandit()
    done = run(bandit)
    assert (done.first_score, done.best_score) == (-1.0, 1.0)
    assert int(bandit.theta.argmax()) == 3
    assert bandit.theta.equal(done.values["theta"])
    assert done.scores[done.best_step] == 1.0
    assert all(score < 1 for step, score in done.scores.items() if step < done.best_step)
    assert done.steps == 40
    assert sum(done.rewards[-5:]) > sum(done.rewards[:5])


def test_it_is_seeded_and_the_device_batch_changes_nothing():
    runs = [run(Bandit(), device_batch_size=held).values["theta"] for held in (None, None, 5)]
    assert runs[0].equal(runs[1])
    torch.testing.assert_close(runs[0], runs[2], atol=1e-10, rtol=1e-10)
    assert not run(Bandit(), seed=1).values["theta"].equal(runs[0])


def test_a_penalty_holds_it_near_the_base():
    free, held = Bandit(), Bandit()
    loose, tight = run(free, kl=0.0), run(held, kl=5.0)
    assert loose.penalties[-1] == 0
    start = Bandit().theta.detach()
    assert (held.theta - start).abs().max() < (free.theta - start).abs().max()
    assert tight.penalties[0] == 0


def test_patience_ends_it_and_the_start_is_kept_where_nothing_was_better():
    bandit = Bandit()
    done = run(bandit, right=2, patience=2)  # 2 is the likeliest already: no look can be better
    assert done.steps == 10
    assert done.best_step == 0
    assert bandit.theta.equal(Bandit().theta)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"schedule": "linear"}, "schedule 'linear': expected cosine or constant"),
        ({"kl_direction": "both"}, "kl_direction 'both'"),
        ({"batch_size": 65}, "64 questions to learn from and 8 held back; a step takes 65"),
        ({"clip": 0.0}, "clip 0.0 is too small"),
        ({"kl": -1.0}, "cannot be negative"),
    ],
)
def test_settings_that_cannot_work(changes, text):
    with pytest.raises(ValueError, match=text):
        run(Bandit(), **changes)


def test_questions_are_not_both_learned_from_and_held_back():
    bandit = Bandit()
    with pytest.raises(ValueError, match="2 questions are both learned from and held back"):
        reinforce(
            bandit, drawn(bandit), questions(64, 3), questions(2, 3), {"theta": bandit.theta}, nullcontext,
            RLConfig(**SMALL),
        )  # fmt: skip
