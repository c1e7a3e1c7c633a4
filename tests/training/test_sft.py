"""Training by TRL against a step by hand, and what must not change."""

import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from harness.config.compose import compose_model
from harness.config.training import SFTConfig
from harness.models import ModelRef, load_base
from harness.training import Text, fine_tune

TEXTS = [
    Text("Tom has 3 apples and gets 4.", " He has 7."),
    Text("Ann has 9 pears.", " She eats 2, so 7 are left."),
    Text("What is 2 + 2?", " 4"),
]


@pytest.fixture(scope="module")
def base():
    return load_base(ModelRef("lab-base", compose_model("lab-base")[1].path))


def settings(**changes):
    quick = {"learning_rate": 1e-3, "batch_size": 3, "epochs": 1, "warmup_ratio": 0.0, "max_length": 96}
    return SFTConfig(**{**quick, "gradient_checkpointing": False, **changes})


def names_of(base, *parts):
    return [n for n, _ in base.model.named_parameters() if any(p in n for p in parts)]


def by_hand(base, names, rate=1e-3, decay=1e-4, betas=(0.9, 0.95)):
    """One step of AdamW on the mean loss of the completions' tokens and the end token."""
    import copy

    model = copy.deepcopy(base.model).train()
    parameters = dict(model.named_parameters())
    for name, p in parameters.items():
        p.requires_grad_(name in names)
    losses = []
    for text in TEXTS:
        ids = base.tokenizer(text.prompt + text.completion)["input_ids"] + [base.tokenizer.eos_token_id]
        start = len(base.tokenizer(text.prompt)["input_ids"])
        logits = model(torch.tensor([ids])).logits[0, start - 1 : -1]
        losses.append(F.cross_entropy(logits, torch.tensor(ids[start:]), reduction="none"))
    loss = torch.cat(losses).mean()
    loss.backward()
    norm = torch.sqrt(sum(parameters[n].grad.square().sum() for n in names))
    out = {}
    for name in names:
        p, grad = parameters[name].detach(), parameters[name].grad * min(1.0, 1.0 / float(norm + 1e-6))
        mean, square = (1 - betas[0]) * grad / (1 - betas[0]), (1 - betas[1]) * grad**2 / (1 - betas[1])
        # The trainer decays no biases and no norms.
        shrink = 1 - rate * decay * ("norm" not in name and "bias" not in name)
        out[name] = p * shrink - rate * mean / (square.sqrt() + 1e-8)
    return out, float(loss), sum(len(x) for x in losses)


def test_one_step_is_adamw_on_completions(base):
    names = names_of(base, "o_proj", "norm", "q_proj.bias", "embed")
    expected, loss, tokens = by_hand(base, names)
    trained = fine_tune(base.model, base.tokenizer, TEXTS, names, settings())
    assert trained.steps == 1
    assert trained.learned_tokens == tokens
    assert trained.first_loss == pytest.approx(loss, abs=1e-4)
    for name in names:
        # Where a gradient is all but 0 its sign decides the step, so a few elements may differ.
        far = (trained.tensors[name] - expected[name]).abs() > 2e-5
        assert far.float().mean() < 2e-3, name


def test_base_and_generators_are_left_alone(base):
    before = {n: p.clone() for n, p in base.model.named_parameters()}
    flags = [p.requires_grad for p in base.model.parameters()]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.random(), torch.rand(1)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    fine_tune(base.model, base.tokenizer, TEXTS, names_of(base, "o_proj"), settings())
    assert (random.random(), np.random.random()) == expected[:2]
    assert torch.equal(torch.rand(1), expected[2])
    assert all(torch.equal(p, before[n]) for n, p in base.model.named_parameters())
    assert [p.requires_grad for p in base.model.parameters()] == flags
    assert not base.model.training


@pytest.mark.parametrize("changes", [{}, {"device_batch_size": 1}, {"gradient_checkpointing": True}])
def test_learns_and_can_be_repeated(base, changes):
    names = names_of(base, "o_proj", "norm")
    config = settings(epochs=8, **changes)
    first, second = (fine_tune(base.model, base.tokenizer, TEXTS, names, config) for _ in range(2))
    assert first.steps == 8
    assert first.last_loss < first.first_loss
    assert first.steps_per_second > 0
    assert all(torch.equal(first.tensors[n], second.tensors[n]) for n in names)


def test_accumulated_rows_are_one_batch(base):
    names = names_of(base, "o_proj")
    whole = fine_tune(base.model, base.tokenizer, TEXTS, names, settings())
    pieces = fine_tune(base.model, base.tokenizer, TEXTS, names, settings(device_batch_size=1))
    assert whole.steps == pieces.steps == 1
    for name in names:
        assert ((whole.tensors[name] - pieces.tensors[name]).abs() > 2e-5).float().mean() < 2e-3


def test_long_texts_are_counted_and_said(base, caplog):
    long = [*TEXTS, Text("a b c d " * 30, " end"), Text("x", " y z" * 60)]
    trained = fine_tune(base.model, base.tokenizer, long, names_of(base, "o_proj"), settings(max_length=32))
    assert (trained.truncated, trained.dropped) == (2, 1)
    assert "2 of 5 texts are longer than 32 tokens and were cut, 1 of them" in caplog.text


def test_training_that_moves_nothing_is_an_error(base):
    with pytest.raises(RuntimeError, match="left 4 of 4 trained tensors as they were"):
        fine_tune(base.model, base.tokenizer, TEXTS, names_of(base, "o_proj"), settings(learning_rate=0.0))


@pytest.mark.parametrize(
    ("changes", "texts", "words"),
    [
        ({"batch_size": 3, "device_batch_size": 2}, TEXTS, "no multiple of device_batch_size 2"),
        ({"batch_size": 0}, TEXTS, "batch_size 0"),
        ({"device_batch_size": 0}, TEXTS, "device_batch_size 0"),
        ({"learning_rate": -1.0}, TEXTS, "learning_rate -1"),
        ({"epochs": 0}, TEXTS, "epochs 0"),
        ({}, [], "no texts"),
    ],
)
def test_settings_that_cannot_work(base, changes, texts, words):
    with pytest.raises(ValueError, match=words):
        fine_tune(base.model, base.tokenizer, texts, names_of(base, "o_proj"), settings(**changes))
