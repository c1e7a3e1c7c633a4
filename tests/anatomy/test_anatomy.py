import pytest
import torch
from conftest import ARCHITECTURES, CONFIGS, tiny
from transformers import AutoModelForCausalLM, OPTConfig

from harness.anatomy import PARTS, Anatomy

HEAD_SIZES = {"llama": 16, "mistral": 16, "qwen3": 16}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
class TestEveryArchitecture:
    def test_sizes_come_from_the_weights(self, architecture):
        anatomy = Anatomy.of(tiny(architecture))
        assert anatomy.n_layers == 3
        assert anatomy.n_heads == 4
        assert anatomy.head_size == HEAD_SIZES.get(architecture, 8)
        assert anatomy.n_kv_heads == (4 if architecture in ("gpt2", "gpt_neox", "bloom") else 2)
        assert anatomy.tied == bool(CONFIGS[architecture].tie_word_embeddings)

    def test_every_parameter_has_a_site(self, architecture):
        model = tiny(architecture)
        named = {s.name for s in Anatomy.of(model).sites}
        assert named == {n for n, _ in model.named_parameters(remove_duplicate=False)}

    def test_parts_add_up_to_the_whole_model(self, architecture):
        model = tiny(architecture)
        anatomy = Anatomy.of(model)
        sizes = [
            s.layout.read(model.get_parameter(s.name)).numel()
            for s in anatomy.sites
            if not (anatomy.tied and s.part == "head")
        ]
        assert sum(sizes) == sum(p.numel() for p in model.parameters())

    def test_projections_have_the_shapes_their_names_promise(self, architecture):
        model = tiny(architecture)
        anatomy = Anatomy.of(model)
        hidden = model.config.hidden_size
        q, kv = anatomy.n_heads * anatomy.head_size, anatomy.n_kv_heads * anatomy.head_size
        expected = {"q_proj": (q, hidden), "k_proj": (kv, hidden), "v_proj": (kv, hidden), "o_proj": (hidden, q)}
        for site in anatomy.sites:
            if site.part in expected and not site.is_bias:
                assert tuple(site.layout.read(model.get_parameter(site.name)).shape) == expected[site.part]

    def test_writing_what_was_read_changes_nothing(self, architecture):
        model = tiny(architecture)
        for site in Anatomy.of(model).sites:
            stored = model.get_parameter(site.name).detach()
            assert site.layout.write(stored, site.layout.read(stored)).equal(stored)

    def test_writing_reads_back_and_leaves_the_rest_alone(self, architecture):
        model = tiny(architecture)
        for site in Anatomy.of(model).sites:
            stored = model.get_parameter(site.name).detach()
            before = stored.clone()
            value = torch.randn_like(site.layout.read(stored))
            written = site.layout.write(stored, value)
            assert stored.equal(before)
            assert site.layout.read(written).equal(value)
            assert (written != stored).sum() == value.numel()

    def test_every_part_that_the_architecture_has_is_found(self, architecture):
        found = {s.part for s in Anatomy.of(tiny(architecture)).sites}
        lacking = {"gpt2": {"gate_proj"}, "gpt_neox": {"gate_proj"}, "bloom": {"gate_proj"}, "olmo": {"norm"}}
        assert found == set(PARTS) - lacking.get(architecture, set())


def _attention_of_layer_0(model, q, k, v, hidden):
    """Scores by the textbook from separate projections, without positions."""
    anatomy = Anatomy.of(model)
    heads = [(hidden @ w.T + b).unflatten(-1, (anatomy.n_heads, -1)).transpose(0, 1) for w, b in (q, k, v)]
    scores = heads[0] @ heads[1].transpose(1, 2) / anatomy.head_size**0.5
    mask = torch.full(scores.shape[-2:], float("-inf")).triu(1)
    return ((scores + mask).softmax(-1) @ heads[2]).transpose(0, 1).flatten(1)


def test_gpt2_fused_projection_is_split_as_the_model_uses_it():
    """An independent oracle: attention computed by hand from the parts equals the model's own."""
    model = tiny("gpt2")
    anatomy = Anatomy.of(model)

    def read(part):
        w, b = (s.layout.read(model.get_parameter(s.name)) for s in anatomy.sites if s.part == part and s.layer == 0)
        return w, b

    hidden = torch.randn(7, 32)
    block = model.transformer.h[0].attn
    with torch.no_grad():
        theirs = block(hidden[None])[0][0]
        mine = _attention_of_layer_0(model, read("q_proj"), read("k_proj"), read("v_proj"), hidden)
        w, b = read("o_proj")
        torch.testing.assert_close(mine @ w.T + b, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt_neox", "bloom"])
def test_interleaved_projection_zeroed_values_silence_attention_of_every_head(architecture):
    """If v is found right, zeroing it leaves only o_proj's bias as the attention's output."""
    model = tiny(architecture)
    anatomy = Anatomy.of(model)
    with torch.no_grad():
        for site in anatomy.sites:
            if site.part == "v_proj":
                parameter = model.get_parameter(site.name)
                parameter.copy_(site.layout.write(parameter, torch.zeros_like(site.layout.read(parameter))))
    seen = []
    dense = model.get_submodule(f"{anatomy.layer_name(0)}.{anatomy.architecture.attention}.dense")
    dense.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    with torch.no_grad():
        model(torch.arange(2, 12)[None])
    assert seen[0].abs().max() == 0


def test_unknown_architecture_is_named():
    model = AutoModelForCausalLM.from_config(
        OPTConfig(
            vocab_size=64,
            hidden_size=32,
            ffn_dim=48,
            num_hidden_layers=1,
            num_attention_heads=4,
            word_embed_proj_dim=32,
        )
    )
    with pytest.raises(ValueError, match=r"'opt' is not known; known: bloom, gpt2"):
        Anatomy.of(model)
