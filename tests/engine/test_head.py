"""The head reads what whole logits would say, without holding them."""

import pytest
import torch

from harness.engine import head as head_module
from harness.engine.head import Head
from tests.engine_support import speaking, tokenizer


def _model(bias, dtype=torch.float32):
    model = speaking("llama", tie_word_embeddings=False).to(dtype)
    if bias:
        model.lm_head.bias = torch.nn.Parameter(torch.randn(len(tokenizer()), dtype=dtype))
    return model


@pytest.fixture(autouse=True)
def _short_stretches(monkeypatch):
    monkeypatch.setattr(head_module, "_STRETCH", {"cpu": 100, "cuda": 100})


@pytest.mark.parametrize("bias", [False, True])
def test_most_likely_token_is_the_first_of_the_largest_logits(bias):
    model, hidden = _model(bias), torch.randn(9, 32)
    with torch.no_grad():
        model.lm_head.weight[300] = model.lm_head.weight[7] = model.lm_head.weight[5] = hidden[0] * 9
        if bias:
            model.lm_head.bias[[5, 7, 300]] = 0.0
        hidden[3] = float("nan")
        tokens, broken = Head(model).most_likely(hidden)
        whole = model.lm_head(hidden)
    assert tokens[0] == 5
    assert tokens.tolist() == whole.argmax(dim=-1).tolist()
    assert broken.tolist() == [row == 3 for row in range(9)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_probabilities_are_those_of_exact_logits(bias, dtype):
    model = _model(bias, dtype)
    layer, hidden = model.lm_head, torch.randn(7, 32).to(dtype)
    exact = hidden.double() @ layer.weight.double().T + (layer.bias.double() if bias else 0.0)
    at = torch.arange(7).repeat_interleave(3)
    # The most likely token, and others from all stretches.
    targets = torch.stack([exact.argmax(dim=-1), torch.arange(7) * 60, torch.full((7,), len(tokenizer()) - 1)], 1)
    with torch.no_grad():
        values, greedy = Head(model).log_probabilities(hidden, at, targets.flatten())
        rounded = layer(hidden).log_softmax(dim=-1)
    assert values.dtype == torch.float32
    error = (values - exact.log_softmax(dim=-1)[at, targets.flatten()]).abs().max()
    assert error < 2e-5
    assert greedy.view(7, 3)[:, 0].tolist() == [1.0] * 7
    assert greedy.tolist() == (exact.argmax(dim=-1)[at] == targets.flatten()).float().tolist()
    if dtype == torch.bfloat16:
        assert (rounded - exact.log_softmax(dim=-1)).abs().max() > 1e-3, "bf16 logits would not do"


def test_only_the_first_of_equal_logits_is_greedy():
    model, hidden = _model(False), torch.randn(2, 32)
    with torch.no_grad():
        model.lm_head.weight[[7, 5, 300]] = hidden[0] * 9
        _, greedy = Head(model).log_probabilities(hidden, torch.zeros(3, dtype=torch.int64), torch.tensor([300, 7, 5]))
    assert greedy.tolist() == [0.0, 0.0, 1.0]


def test_a_broken_row_breaks_no_other():
    model, hidden = _model(False), torch.randn(3, 32)
    hidden[1] = float("nan")
    with torch.no_grad():
        values, _ = Head(model).log_probabilities(hidden, torch.arange(3), torch.tensor([1, 2, 3]))
    assert values.isnan().tolist() == [False, True, False]


def test_a_head_that_is_no_plain_matrix_is_called():
    model = _model(False)
    hidden, at = torch.randn(4, 32), torch.arange(4)
    with torch.no_grad():
        plain = Head(model).log_probabilities(hidden, at, at)
        model.set_output_embeddings(torch.nn.Sequential(model.lm_head))
        wrapped = Head(model).log_probabilities(hidden, at, at)
        assert wrapped.allclose(plain, atol=1e-5)
        assert Head(model).most_likely(hidden)[0].equal(model.lm_head(hidden).argmax(dim=-1))
