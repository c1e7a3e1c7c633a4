"""Importance against gradients of one example a time, and against the formula by hand."""

import pytest
import torch
from conftest import tiny
from peft import LoraConfig, get_peft_model

from harness.lora_par.importance import Example, example_gradients, importance

TARGETS = {"llama": ["q_proj", "v_proj", "down_proj"], "gpt2": ["c_attn", "c_fc"], "qwen2": ["k_proj", "up_proj"]}


def adapted(architecture, init="orthogonal", dtype=torch.float64):
    torch.manual_seed(0)
    model = tiny(architecture).to(dtype)
    wrapped = get_peft_model(
        model,
        LoraConfig(r=2, target_modules=TARGETS[architecture], init_lora_weights=init),
        autocast_adapter_dtype=False,
    )
    inner = wrapped.base_model.model
    return inner, {n: p for n, p in inner.named_parameters() if p.requires_grad}


def examples(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = [5 + i % 4 for i in range(count)]
    return [
        Example(tuple(torch.randint(1, 60, (length,), generator=generator).tolist()), 1 + i % 3)
        for i, length in enumerate(lengths)
    ]


def one_by_one(model, parameters, some):
    """The gradients of each example by transformers' own loss, one forward pass for each."""
    out = []
    for example in some:
        ids = torch.tensor([example.tokens])
        labels = ids.clone()
        labels[0, : example.learned_from] = -100
        out.append(torch.autograd.grad(model(input_ids=ids, labels=labels).loss, list(parameters.values())))
    return [dict(zip(parameters, gradients, strict=True)) for gradients in out]


# Whatever the dtype, transformers computes its loss in fp32, and Llama and Qwen2 their norms.
@pytest.mark.parametrize(
    ("architecture", "dtype", "within"),
    [("gpt2", torch.float64, 1e-7), *((a, d, 1e-6) for a in TARGETS for d in (torch.float32, torch.float64))],
)
def test_gradients_in_a_batch_are_those_of_each_example(architecture, dtype, within):
    model, parameters = adapted(architecture, dtype=dtype)
    some = examples(6)
    together = example_gradients(model, parameters, some)
    alone = one_by_one(model, parameters, some)
    for name in parameters:
        for k in range(len(some)):
            scale = max(float(alone[k][name].abs().max()), 1.0)
            assert float((together[name][k] - alone[k][name]).abs().max()) <= within * scale


def test_the_score_is_the_papers_formula():
    """|g phi - 1/2 F phi^2|, with g and F from examples one by one; the square of a mean gradient is another number."""
    model, parameters = adapted("llama")
    some = examples(7)
    scores = importance(model, parameters, some, batch_size=3)
    alone = one_by_one(model, parameters, some)
    apart = 0.0
    for name, parameter in parameters.items():
        gradients = torch.stack([a[name] for a in alone])
        phi = parameter.detach()
        expected = (gradients.mean(0) * phi - 0.5 * gradients.square().mean(0) * phi.square()).abs()
        torch.testing.assert_close(scores[name].double(), expected, atol=1e-9, rtol=1e-5)
        wrong = (gradients.mean(0) * phi - 0.5 * gradients.mean(0).square() * phi.square()).abs()
        apart = max(apart, float((wrong - expected).abs().max() / expected.max()))
    assert apart > 1e-3


def test_the_batch_size_changes_nothing_and_the_model_is_as_it_was():
    model, parameters = adapted("llama")
    model.train()
    before = {n: p.clone() for n, p in model.named_parameters()}
    one, other = (importance(model, parameters, examples(7), size) for size in (1, 4))
    for name in parameters:
        torch.testing.assert_close(one[name], other[name], atol=1e-9, rtol=1e-5)
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    assert all(p.equal(before[n]) and p.grad is None for n, p in model.named_parameters())


def test_prompts_do_not_count():
    """Another prompt of the same length changes scores, as context; labels within it do not exist."""
    model, parameters = adapted("llama")
    whole = [Example((3, 4, 5, 6, 7), 1)]
    tail = [Example((3, 4, 5, 6, 7), 3)]
    assert any(
        not torch.allclose(a, b)
        for a, b in zip(
            importance(model, parameters, whole).values(), importance(model, parameters, tail).values(), strict=True
        )
    )


@pytest.mark.parametrize("init", [True, "gaussian"])
def test_a_start_without_importance_is_refused_and_those_that_work_are_named(init):
    model, parameters = adapted("llama", init)
    with pytest.raises(ValueError, match=r"every score is 0.*normal, orthogonal, pissa, pissa_niter_N, olora"):
        importance(model, parameters, examples(3))


@pytest.mark.parametrize(
    ("some", "text"),
    [
        ([], "no examples"),
        ([Example((1, 2), 2)], "example 0 has no prompt, or nothing"),
        ([Example((1, 2), 0)], "no prompt"),
    ],
)
def test_examples_that_teach_nothing(some, text):
    model, parameters = adapted("llama")
    with pytest.raises(ValueError, match=text):
        importance(model, parameters, some)
