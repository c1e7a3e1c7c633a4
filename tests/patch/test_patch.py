import dataclasses
import pickle

import pytest
import torch
from conftest import ARCHITECTURES, logits, tiny
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from harness.anatomy import Anatomy
from harness.models import Base, ModelRef, fingerprint
from harness.patch import Change, Patch, Provenance, export


def base_of(model, name="tiny"):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")), eos_token="b"
    )
    return Base(ModelRef(name, "nowhere"), model, tokenizer, Anatomy.of(model), fingerprint(model))


def state(model):
    """What must come back: identity of every tensor, and the config."""
    tensors = {n: (id(p), p.data_ptr()) for n, p in model.named_parameters(remove_duplicate=False)}
    return tensors, fingerprint(model), model.config.to_dict(), len(Anatomy.of(model).sites)


def random_patch(model, seed=1):
    generator = torch.Generator().manual_seed(seed)
    seen = {}
    tensors = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        if id(p) not in seen:
            seen[id(p)] = torch.randn(p.shape, generator=generator)
        tensors[name] = seen[id(p)]
    return Patch(tensors)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
class TestApplied:
    def test_model_is_the_variant_inside_and_itself_outside(self, architecture):
        model = tiny(architecture)
        before, there = state(model), logits(model)
        patch = random_patch(model)
        other = tiny(architecture, seed=5)
        other.load_state_dict({n: patch.tensors[n] for n in other.state_dict() if n in patch.tensors}, strict=False)
        with patch.applied(model) as variant:
            assert variant is model
            assert logits(model).equal(logits(other))
            assert not logits(model).equal(there)
        assert state(model) == before
        assert logits(model).equal(there)

    def test_comes_back_when_the_body_raises(self, architecture):
        model = tiny(architecture)
        before = state(model)
        patch = dataclasses.replace(random_patch(model), kept_layers=(0, 2))
        with pytest.raises(KeyError), patch.applied(model):
            raise KeyError("body")
        assert state(model) == before

    def test_removed_layers_generate_with_cache_as_without(self, architecture):
        model = tiny(architecture)
        before, prompt = state(model), torch.arange(2, 10)[None]
        with Patch(kept_layers=(0, 2)).applied(model):
            assert model.config.num_hidden_layers == 2
            cached, plain = (
                model.generate(prompt, max_new_tokens=8, do_sample=False, use_cache=use, eos_token_id=None)
                for use in (True, False)
            )
            assert cached.equal(plain)
        assert state(model) == before

    @pytest.mark.parametrize("tie", [True, False])
    def test_export_reloads_with_equal_logits(self, architecture, tie, tmp_path):
        model = tiny(architecture, tie_word_embeddings=tie)
        base = base_of(model)
        patch = dataclasses.replace(random_patch(model), kept_layers=(0, 2))
        with patch.applied(model):
            expected = logits(model)
        export(base, patch, tmp_path / "out")
        reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
        assert logits(reloaded).equal(expected)
        assert Anatomy.of(reloaded).tied == tie


def test_untied_head_is_exported_and_comes_back_untied(tmp_path):
    model = tiny("qwen2", tie_word_embeddings=True)
    before = state(model)
    patch = Patch({"lm_head.weight": torch.randn(64, 32)}, untied=True)
    with patch.applied(model):
        model.tie_weights()  # lm-eval's backend calls this
        expected = logits(model)
        assert model.model.embed_tokens.weight is not model.lm_head.weight
    assert state(model) == before
    export(base_of(model), patch, tmp_path / "out")
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert logits(reloaded).equal(expected)
    assert reloaded.config.tie_word_embeddings is False


def test_one_name_of_a_tie_changes_both():
    model = tiny("gpt2")
    with Patch({"transformer.wte.weight": torch.randn(64, 32)}).applied(model):
        assert model.lm_head.weight is model.transformer.wte.weight


def test_all_misfits_are_named_at_once_and_nothing_is_touched():
    model = tiny("qwen2", tie_word_embeddings=True)
    before = state(model)
    patch = Patch(
        {
            "model.norm.weight": torch.zeros(31),
            "model.layers.0.self_attn.q_proj.weight": torch.zeros(32, 32, dtype=torch.float16),
            "model.layers.9.mlp.up_proj.weight": torch.zeros(48, 32),
            "model.embed_tokens.weight": torch.zeros(64, 32),
            "lm_head.weight": torch.ones(64, 32),
        },
        kept_layers=(0, 7),
    )
    with pytest.raises(ValueError) as error, patch.applied(model):
        pass
    text = str(error.value)
    for part in (
        "model.norm.weight: shape (31,), the model has (32,)",
        "dtype torch.float16, the model has torch.float32",
        "model.layers.9.mlp.up_proj.weight: the model has no such tensor",
        "tied to lm_head.weight",
        "layers 0 to 2",
    ):
        assert part in text
    assert state(model) == before


def test_a_bias_can_be_added_and_is_gone_afterwards():
    model = tiny("llama")
    bias = torch.randn(32)
    with Patch({"model.layers.1.self_attn.o_proj.bias": bias}).applied(model):
        assert model.model.layers[1].self_attn.o_proj.bias.equal(bias)
    assert model.model.layers[1].self_attn.o_proj.bias is None
    with (
        pytest.raises(ValueError, match=r"a bias here has \(32,\)"),
        Patch({"model.layers.1.self_attn.o_proj.bias": bias[:5]}).applied(model),
    ):
        pass


def test_added_bias_needs_a_config_that_can_say_so(tmp_path):
    model = tiny("llama")
    names = [f"model.layers.{i}.self_attn.{p}_proj.bias" for i in range(3) for p in "qkvo"]
    tensors = {n: torch.randn(model.get_submodule(n.removesuffix(".bias")).out_features) for n in names}
    with pytest.raises(ValueError, match="loads no such tensor"):
        export(base_of(model), Patch(tensors), tmp_path / "no")
    assert not (tmp_path / "no").exists()
    patch = Patch(tensors, config_edits={"attention_bias": True})
    with patch.applied(model):
        expected = logits(model)
    export(base_of(model), patch, tmp_path / "yes")
    assert logits(AutoModelForCausalLM.from_pretrained(tmp_path / "yes").eval()).equal(expected)
    assert model.config.attention_bias is False


def test_digest_follows_content_and_not_provenance():
    one = Patch({"a": torch.ones(2)}, provenance=Provenance("x"))
    assert one.digest == Patch({"a": torch.ones(2)}).digest
    others = [
        Patch({"a": torch.zeros(2)}),
        Patch({"b": torch.ones(2)}),
        Patch({"a": torch.ones(2, dtype=torch.float16)}),
        Patch({"a": torch.ones(1, 2)}),
        Patch({"a": torch.ones(2)}, kept_layers=(0,)),
        Patch({"a": torch.ones(2)}, untied=True),
    ]
    assert len({one.digest, *(p.digest for p in others)}) == 7


def test_saved_and_loaded_patch_is_the_same(tmp_path):
    change = Change("a", "o_proj", 0, 2, "donor")
    patch = Patch(
        {"a": torch.randn(2).bfloat16()},
        (0, 2),
        False,
        {},
        Provenance("merge", {"parts": ["o_proj"]}, changes=(change,)),
    )
    patch.save(tmp_path / "p")
    loaded = Patch.load(tmp_path / "p")
    assert loaded.digest == patch.digest
    assert loaded.provenance == patch.provenance
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == ["patch.json", "patch.safetensors"]
    with pytest.raises(ValueError, match="not empty"):
        patch.save(tmp_path / "p")
    with pytest.raises(ValueError, match=r"not a saved patch"):
        Patch.load(tmp_path / "q")


def test_altered_patch_is_refused(tmp_path):
    Patch({"a": torch.zeros(2)}).save(tmp_path / "p")
    Patch({"a": torch.ones(2)}).save(tmp_path / "q")
    (tmp_path / "p" / "patch.safetensors").write_bytes((tmp_path / "q" / "patch.safetensors").read_bytes())
    with pytest.raises(ValueError, match="do not match the recorded digest"):
        Patch.load(tmp_path / "p")


def test_fingerprint_follows_weights_and_settings_not_place(tmp_path):
    model = tiny("llama")
    model.save_pretrained(tmp_path / "a")
    model.save_pretrained(tmp_path / "b")
    prints = {fingerprint(AutoModelForCausalLM.from_pretrained(tmp_path / x)) for x in "ab"}
    assert len(prints) == 1
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    with torch.no_grad():
        again.model.norm.weight[0] += 1e-6
    assert fingerprint(again) not in prints
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    again.config.rms_norm_eps = 1e-3
    assert fingerprint(again) not in prints


def test_nothing_is_pickled(tmp_path):
    Patch({"a": torch.zeros(2)}).save(tmp_path / "p")
    for file in (tmp_path / "p").iterdir():
        with pytest.raises(Exception):  # noqa: B017 - any refusal will do
            pickle.loads(file.read_bytes())
