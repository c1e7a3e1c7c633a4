"""Destruction, by the laws that hold for any model (research: several zeroed models are the same)."""

import pytest
import torch
from conftest import ARCHITECTURES, logits, tiny
from torch import nn

from harness.anatomy import Anatomy
from harness.config.specs import VariantSpec
from harness.config.variants import BaseVariant, CheckpointVariant, ComposedVariant, DestroyVariant, MergeVariant
from harness.models import Base, ModelRef, fingerprint
from harness.variants import Context, build, plan_text


def base_of(model):
    return Base(ModelRef("tiny", "nowhere"), model, None, Anatomy.of(model), fingerprint(model))  # type: ignore[arg-type]


def destroyed(model, **config):
    return build(base_of(model), VariantSpec("d", "destroy", DestroyVariant(**config)), Context(lambda name: model))


def run(model, patch):
    with patch.applied(model):
        return logits(model)


GATED = ["llama", "mistral", "qwen2", "qwen3", "olmo", "olmo2"]


@pytest.mark.parametrize("architecture", GATED)
def test_zeroed_gate_up_and_down_are_the_same_model(architecture):
    model = tiny(architecture)
    one, two, three = (run(model, destroyed(model, parts=[p])) for p in ("gate_proj", "up_proj", "down_proj"))
    assert one.equal(two)
    assert two.equal(three)


@pytest.mark.parametrize("architecture", GATED)
def test_zeroed_q_and_k_are_the_same_model_and_so_are_v_and_o(architecture):
    model = tiny(architecture)
    q, k, v, o = (run(model, destroyed(model, parts=[p])) for p in ("q_proj", "k_proj", "v_proj", "o_proj"))
    torch.testing.assert_close(q, k, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(v, o, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(q, v, atol=1e-3)


def test_biases_are_a_choice_that_matters():
    model = tiny("qwen2")
    whole, weights = (run(model, destroyed(model, parts=["v_proj"], bias=b)) for b in (True, False))
    assert (whole - weights).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_removed_layers_leave_the_model_of_the_others(architecture):
    """The oracle is a model made of the remaining layers by hand."""
    model, other = tiny(architecture), tiny(architecture)
    path, _, leaf = Anatomy.of(other).architecture.layers.rpartition(".")
    layers = list(other.get_submodule(f"{path}.{leaf}"))
    setattr(other.get_submodule(path), leaf, nn.ModuleList([layers[0], layers[2]]))
    other.config.num_hidden_layers = 2
    if getattr(other.config, "layer_types", None):
        other.config.layer_types = other.config.layer_types[:2]
    with torch.no_grad():
        expected = other(torch.arange(2, 12)[None], use_cache=False).logits
    with destroyed(model, mode="remove", layers="1:2").applied(model), torch.no_grad():
        assert model(torch.arange(2, 12)[None], use_cache=False).logits.equal(expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_removed_layers_compute_the_same_with_a_cache_as_without(architecture):
    """Token by token through the model's own cache, whose layers are counted anew."""
    model, ids = tiny(architecture), torch.arange(2, 14)[None]
    with destroyed(model, mode="remove", layers="0:1").applied(model), torch.no_grad():
        whole = model(ids, use_cache=False).logits
        past, steps = None, []
        for i in range(ids.shape[1]):
            out = model(ids[:, i : i + 1], past_key_values=past, use_cache=True)
            past = out.past_key_values
            steps.append(out.logits)
        torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-5, rtol=1e-4)
        greedy = [
            model.generate(ids, max_new_tokens=6, min_new_tokens=6, do_sample=False, use_cache=c) for c in (True, False)
        ]
    assert greedy[0].equal(greedy[1])


def test_reinit_is_seeded_and_has_its_spread():
    model = tiny("llama", hidden_size=128, num_attention_heads=8)
    one, two, other = (destroyed(model, mode="reinit", parts=["o_proj"], seed=s) for s in (3, 3, 4))
    assert one.digest == two.digest != other.digest
    values = torch.cat([t.flatten() for t in one.tensors.values()])
    assert values.std() == pytest.approx(0.02, rel=0.02)
    assert abs(values.mean()) < 5 * 0.02 / len(values) ** 0.5
    assert one.provenance.seeds == {"reinit": 3}


def test_tied_head_is_destroyed_once():
    model = tiny("gpt2")
    patch = destroyed(model, mode="reinit", parts=["embed", "head"])
    assert patch.provenance.touched == 64 * 32 + 64 * 32  # tokens and positions
    with patch.applied(model):
        assert model.lm_head.weight is model.transformer.wte.weight


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"mode": "burn", "parts": ["mlp"]}, "unknown mode 'burn'; known: zero, reinit, remove"),
        ({}, "needs parts"),
        ({"mode": "remove"}, "needs layers"),
        ({"mode": "remove", "layers": "0:3"}, "one must stay"),
        ({"mode": "remove", "layers": "0:1", "parts": ["mlp"]}, "leave parts empty"),
        ({"parts": ["o_proj"], "layers": "5:9"}, "layers 0 to 2"),
    ],
)
def test_settings_that_do_not_go_together(config, text):
    with pytest.raises(ValueError, match=text):
        destroyed(tiny("llama"), **config)


class TestComposed:
    def spec(self, *steps):
        return VariantSpec("c", "composed", ComposedVariant(steps=list(steps)))

    def test_is_one_patch_after_the_other(self):
        model = tiny("llama")
        zero = VariantSpec("z", "destroy", DestroyVariant(parts=["o_proj"], layers="0:1"))
        reinit = VariantSpec("r", "destroy", DestroyVariant(mode="reinit", parts=["mlp"], layers="1:3"))
        context = Context(lambda name: model)
        joint = build(base_of(model), self.spec(zero, reinit), context)
        first, second = (build(base_of(model), s, context) for s in (zero, reinit))
        with first.applied(model), second.applied(model):
            expected = logits(model)
        assert run(model, joint).equal(expected)
        assert joint.provenance.touched == first.provenance.touched + second.provenance.touched

    def test_layer_numbers_are_those_of_the_model_before_the_step(self):
        model = tiny("llama")
        drop = VariantSpec("x", "destroy", DestroyVariant(mode="remove", layers="0:1"))
        zero = VariantSpec("z", "destroy", DestroyVariant(parts=["mlp"], layers="0:1"))
        joint = build(base_of(model), self.spec(drop, zero, drop), Context(lambda name: model))
        assert joint.kept_layers == (2,)
        assert all(".layers.1." in name for name in joint.tensors)

    def test_no_steps(self):
        with pytest.raises(ValueError, match="no steps"):
            build(base_of(tiny("llama")), self.spec(), Context(lambda name: None))

    def test_base_is_untouched_when_a_step_fails(self):
        model = tiny("llama")
        before = fingerprint(model)
        zero = VariantSpec("z", "destroy", DestroyVariant(parts=["o_proj"]))
        bad = VariantSpec("b", "merge", MergeVariant(donor="d", parts=["head"]))
        with pytest.raises(ValueError, match="donor"):
            build(base_of(model), self.spec(zero, bad), Context(lambda name: tiny("gpt2")))
        assert fingerprint(model) == before


class TestCheckpoint:
    def built(self, ours, theirs, **config):
        spec = VariantSpec("k", "checkpoint", CheckpointVariant(source="other", **config))
        return build(base_of(ours), spec, Context(lambda name: theirs))

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_is_the_other_model(self, architecture):
        ours, theirs = tiny(architecture), tiny(architecture, seed=1)
        patch = self.built(ours, theirs)
        assert run(ours, patch).equal(logits(theirs))
        assert patch.provenance.touched == sum(p.numel() for p in ours.parameters())

    def test_other_settings_of_the_config_are_refused(self):
        with pytest.raises(ValueError, match=r"rms_norm_eps: 1e-06 here, 0\.1 there"):
            self.built(tiny("llama"), tiny("llama", rms_norm_eps=0.1))

    def test_untied_into_tied_must_be_said(self):
        ours, theirs = tiny("qwen2", tie_word_embeddings=True), tiny("qwen2", seed=1)
        with pytest.raises(ValueError, match="untie=true"):
            self.built(ours, theirs)
        assert run(ours, self.built(ours, theirs, untie=True)).equal(logits(theirs))


def test_plan_says_what_how_much_and_from_where():
    model = tiny("llama")
    text = plan_text(base_of(model), "oproj_zeroed", destroyed(model, parts=["o_proj"], layers="0:2"))
    total = sum(p.numel() for p in model.parameters())
    assert "o_proj" in text
    assert "0:2" in text
    assert f"{2 * 32 * 64:,} of {total:,} parameters touched" in text
    base = build(base_of(model), VariantSpec("base", "base", BaseVariant()), Context(lambda name: model))
    assert "nothing is touched" in plan_text(base_of(model), "base", base)


class TestReviewed:
    """Cases that a reviewer found wrong once."""

    @pytest.mark.parametrize(("ours_tied", "theirs_tied"), [(True, True), (True, False), (False, True), (False, False)])
    def test_checkpoint_is_the_donor_however_both_are_tied(self, ours_tied, theirs_tied):
        ours = tiny("qwen2", tie_word_embeddings=ours_tied)
        theirs = tiny("qwen2", seed=1, tie_word_embeddings=theirs_tied)
        spec = VariantSpec("k", "checkpoint", CheckpointVariant(source="other", untie=ours_tied))
        patch = build(base_of(ours), spec, Context(lambda name: theirs))
        assert run(ours, patch).equal(logits(theirs))

    def test_untying_after_a_tied_step_keeps_the_step(self):
        ours, theirs = (tiny("qwen2", seed=s, tie_word_embeddings=True) for s in (0, 1))
        steps = [
            VariantSpec("a", "merge", MergeVariant(donor="d", parts=["all"])),
            VariantSpec("b", "merge", MergeVariant(donor="d", parts=["norm"], untie=True)),
        ]
        spec = VariantSpec("c", "composed", ComposedVariant(steps=steps))
        patch = build(base_of(ours), spec, Context(lambda name: theirs))
        assert run(ours, patch).equal(logits(theirs))

    def test_steps_meet_in_a_tied_tensor(self):
        ours, theirs = (tiny("qwen2", seed=s, tie_word_embeddings=True) for s in (0, 1))
        steps = [
            VariantSpec("a", "merge", MergeVariant(donor="d", parts=["embed"])),
            VariantSpec("b", "destroy", DestroyVariant(parts=["head"])),
        ]
        patch = build(
            base_of(ours), VariantSpec("c", "composed", ComposedVariant(steps=steps)), Context(lambda n: theirs)
        )
        with patch.applied(ours):
            assert ours.lm_head.weight.abs().max() == 0
            assert ours.lm_head.weight is ours.model.embed_tokens.weight

    @pytest.mark.parametrize(
        ("architecture", "change", "words"),
        [
            ("gpt_neox", {"use_parallel_residual": False}, "use_parallel_residual: True here, False there"),
            ("gpt2", {"activation_function": "relu"}, "activation_function: gelu_new here, relu there"),
        ],
    )
    def test_checkpoint_with_another_forward_pass_is_refused(self, architecture, change, words):
        spec = VariantSpec("k", "checkpoint", CheckpointVariant(source="other"))
        with pytest.raises(ValueError, match=words):
            build(base_of(tiny(architecture)), spec, Context(lambda name: tiny(architecture, **change)))

    def test_deeper_donor_is_refused_by_both_numbers(self):
        for method, config in (
            ("checkpoint", CheckpointVariant(source="other")),
            ("merge", MergeVariant(donor="d", parts=["o_proj"])),
        ):
            with pytest.raises(ValueError, match="n_layers: base 3, donor 4"):
                donor = tiny("llama", num_hidden_layers=4)
                build(base_of(tiny("llama")), VariantSpec("k", method, config), Context(lambda name, d=donor: d))

    def test_donor_with_other_heads_or_an_extra_bias_is_refused(self):
        spec = VariantSpec("m", "merge", MergeVariant(donor="d", parts=["attention"]))
        for change, words in (
            ({"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8}, "n_heads: base 4, donor 8"),
            ({"attention_bias": True}, r"o_proj.bias: the base has no such tensor"),
        ):
            with pytest.raises(ValueError, match=words):
                build(base_of(tiny("llama")), spec, Context(lambda name, c=change: tiny("llama", **c)))
