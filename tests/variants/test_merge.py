import pytest
import torch
import yaml
from conftest import ARCHITECTURES, logits, tiny
from transformers import AutoModelForCausalLM

from harness.anatomy import Anatomy
from harness.config.specs import VariantSpec
from harness.config.variants import MergeVariant, Rule
from harness.models import Base, ModelRef, fingerprint
from harness.variants import Context, build


def base_of(model):
    return Base(ModelRef("tiny", "nowhere"), model, None, Anatomy.of(model), fingerprint(model))  # type: ignore[arg-type]


def merge(ours, theirs, **config):
    spec = VariantSpec("m", "merge", MergeVariant(donor="donor", **config))
    return build(base_of(ours), spec, Context(lambda name: theirs))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("parts", [["o_proj"], ["qkv"], ["mlp"], ["all", "-o_proj"]])
def test_selected_parts_are_the_donors_and_the_rest_is_ours(architecture, parts):
    ours, theirs = tiny(architecture), tiny(architecture, seed=1)
    patch = merge(ours, theirs, parts=parts)
    chosen = {"qkv": ("q_proj", "k_proj", "v_proj"), "mlp": ("gate_proj", "up_proj", "down_proj")}
    with patch.applied(ours):
        for site in Anatomy.of(ours).sites:
            taken = (site.part != "o_proj") if parts[0] == "all" else site.part in chosen.get(parts[0], parts)
            source = theirs if taken else tiny(architecture)
            read = [site.layout.read(m.get_parameter(site.name)) for m in (ours, source)]
            assert read[0].equal(read[1]), site


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_merging_everything_gives_the_donor_and_is_counted_once(architecture):
    ours, theirs = tiny(architecture), tiny(architecture, seed=1)
    patch = merge(ours, theirs, parts=["all"])
    assert patch.provenance.touched == sum(p.numel() for p in ours.parameters())
    with patch.applied(ours):
        assert logits(ours).equal(logits(theirs))


def test_interpolation_by_hand():
    ours, theirs = tiny("llama"), tiny("llama", seed=1)
    name = "model.layers.1.self_attn.o_proj.weight"
    patch = merge(ours, theirs, parts=["o_proj"], layers="1:2", factor=0.25)
    assert list(patch.tensors) == [name]
    expected = 0.75 * ours.get_parameter(name) + 0.25 * theirs.get_parameter(name)
    torch.testing.assert_close(patch.tensors[name], expected.detach())


def test_rules_work_on_what_rules_before_made():
    ours, theirs = tiny("qwen2"), tiny("qwen2", seed=1)
    name = "model.layers.0.self_attn.q_proj.weight"
    rules = [Rule(["q_proj"], factor=0.5), Rule(["qkv"], layers="0:1", factor=0.5)]
    patch = merge(ours, theirs, rules=rules)
    expected = 0.25 * ours.get_parameter(name) + 0.75 * theirs.get_parameter(name)
    torch.testing.assert_close(patch.tensors[name], expected.detach())
    assert "model.layers.1.self_attn.k_proj.weight" not in patch.tensors


def test_fused_projection_takes_only_its_third():
    ours, theirs = tiny("gpt_neox"), tiny("gpt_neox", seed=1)
    one = merge(ours, theirs, parts=["q_proj"])
    assert one.provenance.touched == 3 * (32 * 32 + 32)
    both = merge(ours, theirs, rules=[Rule(["q_proj"]), Rule(["k_proj"]), Rule(["v_proj"])])
    fused = "gpt_neox.layers.0.attention.query_key_value.weight"
    assert both.tensors[fused].equal(theirs.get_parameter(fused))
    assert not one.tensors[fused].equal(theirs.get_parameter(fused))


def test_bias_false_keeps_our_biases():
    patch = merge(tiny("qwen2"), tiny("qwen2", seed=1), parts=["qkv"], bias=False)
    assert all(name.endswith("weight") for name in patch.tensors)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_equals_mergekit(factor, tmp_path):
    """The oracle: mergekit's linear merge with filters, on the same two models."""
    config = pytest.importorskip("mergekit.config")
    run = pytest.importorskip("mergekit.merge").run_merge
    options = pytest.importorskip("mergekit.options").MergeOptions
    ours, theirs = tiny("qwen2"), tiny("qwen2", seed=1)
    for model, name in ((ours, "a"), (theirs, "b")):
        model.save_pretrained(tmp_path / name)

    def weights(chosen, rest):
        return {"weight": [{"filter": "o_proj", "value": chosen}, {"value": rest}]}

    content = {
        "merge_method": "linear",
        "dtype": "float32",
        "models": [
            {"model": str(tmp_path / "a"), "parameters": weights(1 - factor, 1.0)},
            {"model": str(tmp_path / "b"), "parameters": weights(factor, 0.0)},
        ],
        "parameters": {"normalize": False},
    }
    plan = config.MergeConfiguration.model_validate(yaml.safe_load(yaml.safe_dump(content)))
    run(plan, str(tmp_path / "merged"), options(write_model_card=False, copy_tokenizer=False, quiet=True))
    theirs_merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with merge(ours, theirs, parts=["o_proj"], factor=factor).applied(ours):
        torch.testing.assert_close(logits(ours), logits(theirs_merged), atol=1e-6, rtol=1e-6)


class TestTies:
    def test_untied_donor_into_tied_base_is_refused(self):
        ours, theirs = tiny("qwen2", tie_word_embeddings=True), tiny("qwen2", seed=1)
        with pytest.raises(ValueError, match=r"one tensor in tiny and two in donor: set variant.untie=true"):
            merge(ours, theirs, parts=["embed"])

    def test_unless_untied(self):
        ours, theirs = tiny("qwen2", tie_word_embeddings=True), tiny("qwen2", seed=1)
        with merge(ours, theirs, parts=["all"], untie=True).applied(ours):
            assert logits(ours).equal(logits(theirs))
        assert ours.lm_head.weight is ours.model.embed_tokens.weight

    def test_other_parts_do_not_ask(self):
        merge(tiny("qwen2", tie_word_embeddings=True), tiny("qwen2", seed=1), parts=["o_proj"])

    def test_tied_donor_into_untied_base(self):
        ours, theirs = tiny("qwen2"), tiny("qwen2", seed=1, tie_word_embeddings=True)
        with merge(ours, theirs, parts=["all"]).applied(ours):
            assert logits(ours).equal(logits(theirs))


class TestErrors:
    def test_donor_of_another_shape_names_both(self):
        with pytest.raises(
            ValueError, match=r"(?s)variant m on tiny: donor donor.*up_proj.weight: base \(48, 32\), donor \(40, 32\)"
        ) as error:
            merge(tiny("llama"), tiny("llama", intermediate_size=40), parts=["mlp", "o_proj"])
        assert "o_proj" not in str(error.value)

    def test_donor_of_another_architecture(self):
        with pytest.raises(ValueError, match="donor donor is a gpt2 model, the base tiny a llama model"):
            merge(tiny("llama"), tiny("gpt2"), parts=["o_proj"])

    def test_fewer_layers(self):
        with pytest.raises(ValueError, match=r"layers.2.self_attn.o_proj.weight: the donor has no such tensor"):
            merge(tiny("llama"), tiny("llama", num_hidden_layers=2), parts=["o_proj"])

    @pytest.mark.parametrize(
        "config", [{}, {"parts": ["o_proj"], "rules": [Rule(["mlp"])]}, {"parts": ["o_proj"], "factor": 1.5}]
    )
    def test_settings_that_do_not_go_together(self, config):
        with pytest.raises(ValueError, match="merge:"):
            merge(tiny("llama"), tiny("llama"), **config)
