"""Which backend answers, patches in and out, and one model on several devices."""

import logging

import pytest
import torch
from conftest import ARCHITECTURES, tiny
from engine_support import PROMPTS, both, scoring, speaking, texts, tokenizer

from harness.engine import EngineSettings, Plans, ResidentLM, TreeLM, engine_of, open_engine, why_not_tree
from harness.patch import Patch

REQUESTS = scoring(*((p, c) for p in PROMPTS for c in (" 62", " forty two nuts")))
ROPE = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_runs_on_the_engine(architecture):
    assert why_not_tree(tiny(architecture)) is None


@pytest.mark.parametrize(
    ("changes", "attention", "reason"),
    [
        ({"rope_parameters": ROPE}, None, "LlamaForCausalLM has dynamic rotary positions"),
        ({}, "flash_attention_2", "asked to attend by flash_attention_2"),
    ],
)
def test_models_that_cannot_reuse_keys_fall_back_by_name(changes, attention, reason, caplog):
    model = speaking("llama", **changes)
    assert reason in why_not_tree(model, attention)
    assert engine_of(model, "tree", attention) == "hf"
    with caplog.at_level(logging.WARNING):
        lm = open_engine(model, tokenizer(), "tree", EngineSettings(batch_size=2), attn_implementation=attention)
    assert type(lm) is ResidentLM
    assert reason in caplog.text and "engine=hf" in caplog.text


def test_code_of_others_is_not_trusted_to_reuse_keys():
    model = speaking("llama")
    foreign = type("Foreign", (type(model),), {"__module__": "somewhere.else"})
    model.__class__ = foreign
    assert "Foreign is not one of the architectures" in why_not_tree(model)


def test_asking_for_lm_eval_gives_it():
    model = speaking("llama")
    assert type(open_engine(model, tokenizer(), "hf", EngineSettings())) is ResidentLM
    assert type(open_engine(model, tokenizer(), "tree", EngineSettings())) is TreeLM


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bloom"])
def test_a_patch_goes_in_and_out_and_leaves_nothing_behind(architecture):
    model, plans = speaking(architecture), Plans()
    names = [n for n, p in model.named_parameters() if p.dim() == 2][2:4]
    patch = Patch({n: torch.randn_like(model.get_parameter(n)) for n in names})
    fresh = speaking(architecture)
    fresh.load_state_dict({**fresh.state_dict(), **patch.tensors}, strict=False)

    def answers(of):
        lm = TreeLM(of, tokenizer(), EngineSettings(batch_size=3), plans=plans)
        return lm.loglikelihood(REQUESTS), lm.generate_until(texts(PROMPTS))

    base = answers(model)
    with patch.applied(model):
        patched = answers(model)
    assert patched == answers(fresh)
    assert patched != base
    assert answers(model) == base, "bit by bit"
    assert plans.made == 2, "one for scores, one for prompts, whatever the weights"


def test_a_layer_less_is_a_patch_like_any_other():
    model = speaking("llama")
    with Patch(kept_layers=(0, 2)).applied(model):
        peer, ours = both(model)
        expected = peer.loglikelihood(REQUESTS)
        assert [v for v, _ in ours.loglikelihood(REQUESTS)] == pytest.approx([v for v, _ in expected], abs=1e-4)
        assert ours.generate_until(texts(PROMPTS)) == peer.generate_until(texts(PROMPTS))


@pytest.mark.parametrize("architecture", ["llama", "bloom"])
def test_a_model_dispatched_by_accelerate(architecture):
    from accelerate import dispatch_model

    model = speaking(architecture)
    expected = both(model)[1].loglikelihood(REQUESTS), both(model)[1].generate_until(texts(PROMPTS))
    names = [name for name, module in model.named_modules() if not list(module.children())]
    places = dict.fromkeys([*names, *(n for n in ("self_attention",) if n in names)], "cpu")
    dispatched = dispatch_model(model, places, force_hooks=True)
    lm = both(dispatched)[1]
    assert (lm.loglikelihood(REQUESTS), lm.generate_until(texts(PROMPTS))) == expected
    hooked = [name for name, module in dispatched.named_modules() if "forward" in vars(module)]
    assert set(names) <= set(hooked), "accelerate's hooks are all still there"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_model_on_two_gpus():
    from accelerate import dispatch_model

    model = speaking("llama")
    expected = both(model)[1].loglikelihood(REQUESTS)
    places = {"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": 1, "model.layers.2": 1}
    places |= {"model.norm": 1, "model.rotary_emb": 0, "lm_head": 1}
    lm = both(dispatch_model(model, places))[1]
    assert [v for v, _ in lm.loglikelihood(REQUESTS)] == pytest.approx([v for v, _ in expected], abs=1e-3)
    assert len(lm.generate_until(texts(PROMPTS))) == len(PROMPTS)
