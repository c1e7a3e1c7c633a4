"""The engine's attention against the formula written out."""

import pytest
import torch

from harness.engine.attention import attend, attend_few, attend_with_lse, engine_attention, join
from harness.engine.walk import Core


def formula(query, key, value, mask, scaling):
    """softmax(q k^T s + mask) v, in fp64, heads of keys repeated."""
    repeat = query.shape[0] // key.shape[0]
    key, value = (t.double().repeat_interleave(repeat, dim=0) for t in (key, value))
    scores = query.double() @ key.transpose(1, 2) * scaling + mask.double()
    return scores.softmax(dim=-1) @ value


def random_case(heads=4, kv_heads=2, queries=5, keys=9, size=8):
    torch.manual_seed(0)
    query, key, value = (torch.randn(h, n, size) for h, n in ((heads, queries), (kv_heads, keys), (kv_heads, keys)))
    mask = torch.zeros(queries, keys).masked_fill_(torch.rand(queries, keys) < 0.3, float("-inf"))
    mask[:, 0] = 0.0
    return query, key, value, mask


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attend_is_the_formula(kv_heads):
    query, key, value, mask = random_case(kv_heads=kv_heads)
    out = attend(query, key, value, mask, 0.3)
    assert torch.allclose(out.double(), formula(query, key, value, mask, 0.3), atol=1e-6)


def test_attend_takes_a_bias_of_its_own_for_each_head():
    query, key, value, mask = random_case()
    bias = mask + torch.randn(4, 1, 9)
    out = attend(query, key, value, bias, 0.3)
    assert torch.allclose(out.double(), formula(query, key, value, bias, 0.3), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_few_queries_give_what_many_do(dtype):
    query, key, value, mask = (t.to(dtype) for t in random_case(heads=2))
    out = attend_few(query[None], key[None], value[None], mask[None, None], 0.3)[0]
    near = 1e-6 if dtype == torch.float32 else 3e-2
    assert torch.allclose(out.double(), formula(query, key, value, mask, 0.3), atol=near)


def test_joined_parts_are_the_whole():
    query, key, value, _ = random_case(heads=2)
    parts = [attend_with_lse(query, key[:, a:b], value[:, a:b], 0.3) for a, b in ((0, 2), (2, 3), (3, 9))]
    whole = formula(query, key, value, torch.zeros(5, 9), 0.3)
    assert torch.allclose(join(parts).double(), whole, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_large_scores_in_half_precision_stay_exact(dtype):
    """Products of 10^5 before scaling: over fp16's range, and coarse in bf16."""
    query, key, value, _ = random_case(heads=2)
    query, key, value = (query * 60).to(dtype), (key * 60).to(dtype), value.to(dtype)
    parts = [attend_with_lse(query, key[:, a:b], value[:, a:b], 0.001) for a, b in ((0, 4), (4, 9))]
    whole = formula(query, key, value, torch.zeros(5, 9), 0.001)
    assert torch.allclose(join(parts).double(), whole, atol=1e-5)


def test_a_part_in_which_a_query_sees_nothing_adds_nothing():
    query, key, value, _ = random_case(heads=2)
    blind = torch.full((5, 4), float("-inf"))
    blind[2:] = 0.0
    parts = [attend_with_lse(query, key[:, :4], value[:, :4], 0.3, blind)]
    parts.append(attend_with_lse(query, key[:, 4:], value[:, 4:], 0.3))
    mask = torch.cat([blind, torch.zeros(5, 5)], dim=1)
    assert torch.allclose(join(parts).double(), formula(query, key, value, mask, 0.3), atol=1e-6)
    assert parts[0][1][:, :2].eq(float("-inf")).all()


@pytest.mark.parametrize("architecture", ["llama", "bloom"])
def test_model_is_left_as_it_was_when_the_body_raises(architecture):
    from conftest import logits, tiny

    model = tiny(architecture)
    before, attention = logits(model), model.config._attn_implementation
    with pytest.raises(KeyError), engine_attention(model):
        raise KeyError
    assert model.config._attn_implementation == attention
    assert logits(model).equal(before)
    assert not any("forward" in vars(module) for module in model.modules())


def test_an_argument_that_the_engine_does_not_know_is_not_ignored():
    from conftest import tiny

    model = tiny("llama")
    with Core(model).running(), pytest.raises(AssertionError, match="softcap"):
        model.base_model(input_ids=torch.tensor([[1, 2]]), engine=object(), softcap=30.0)
