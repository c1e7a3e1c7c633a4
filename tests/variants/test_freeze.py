"""Freezing: what is trained, what is not, and that nothing is trained twice."""

import json

import pytest
import torch
from conftest import tiny

from harness.anatomy import Anatomy
from harness.config.compose import compose_model
from harness.config.specs import VariantSpec, compose_variant
from harness.config.training import SFTConfig, TextsConfig
from harness.config.variants import FreezeVariant
from harness.data import DataSource
from harness.models import Base, ModelRef, fingerprint, load_base
from harness.patch import Patch
from harness.variants import Context, build, freeze, plan_text

EMBED = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def lab():
    return load_base(ModelRef("lab-base", compose_model("lab-base")[1].path))


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "data" / "mine" / "texts" / "default"
    folder.mkdir(parents=True)
    rows = [{"prompt": f"What is {i} + 1?", "completion": f" {i + 1}"} for i in range(8)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Context(lambda name: None, DataSource("mirror", tmp_path / "data"), tmp_path / "patches")


def config(*parts, **changes):
    train = SFTConfig(learning_rate=1e-3, batch_size=8, epochs=2, max_length=64, gradient_checkpointing=False)
    return FreezeVariant(parts=list(parts), data=TextsConfig("mine/texts"), train=train, **changes)


def made(base, context, *parts, **changes):
    return build(base, VariantSpec("f", "freeze", config(*parts, **changes)), context)


def names(base, text):
    return {n for n, _ in base.model.named_parameters() if text in n}


@pytest.mark.parametrize(
    ("parts", "texts"),
    [
        (["embed", "head"], ["norm", "embed"]),
        (["embed", "head", "o_proj"], ["norm", "embed", "o_proj"]),
        (["embed", "head", "attention"], ["norm", "embed", "self_attn"]),
        (["all"], [""]),
    ],
)
def test_presets_train_what_table_2_says(lab, context, parts, texts):
    patch = made(lab, context, *parts)
    expected = set().union(*(names(lab, text) for text in texts))
    assert set(patch.tensors) == expected
    own = dict(lab.model.named_parameters())
    assert all(not torch.equal(patch.tensors[n], own[n]) for n in expected)
    assert patch.provenance.trained == sum(own[n].numel() for n in expected) == patch.provenance.touched
    assert patch.provenance.measured["steps"] == 2
    with patch.applied(lab.model) as variant:
        assert {n for n, p in variant.named_parameters() if torch.equal(p, own[n])} == set(own) - expected


def test_shipped_presets_compose():
    for name, parts in {"freeze_f1": ["embed", "head"], "freeze_f4": ["all"]}.items():
        spec, _ = compose_variant(name, None, {})
        assert (spec.method, spec.config.parts, spec.config.train) == ("freeze", parts, SFTConfig())


def test_norms_are_a_choice_and_layers_hold_inside(lab, context):
    patch = made(lab, context, "o_proj", "embed", norms=False, layers="1:3")
    assert set(patch.tensors) == {EMBED, *(f"model.layers.{i}.self_attn.o_proj.weight" for i in (1, 2))}


def test_control_has_the_size_of_what_it_is_matched_to(lab):
    sites = freeze.trained_sites(lab, config("head", norms=False, matched_parts=["mlp"], matched_to=["o_proj"]))
    control = [s for s in sites if s.part != "head" and s.part != "embed"]
    sizes = [lab.model.get_parameter(s.name).numel() for s in control]
    wanted = sum(lab.model.get_parameter(n).numel() for n in names(lab, "o_proj"))
    one = sizes[0]
    assert abs(sum(sizes) - wanted) <= one / 2
    assert len({s.layer for s in control}) == len(control)


@pytest.mark.parametrize("parts", [("head",), ("embed",), ("embed", "head")])
def test_a_tied_head_is_counted_once_however_it_is_called(lab, context, parts):
    patch = made(lab, context, *parts, norms=False)
    assert set(patch.tensors) == {EMBED}
    assert patch.provenance.touched == patch.provenance.trained == lab.model.get_parameter(EMBED).numel()


def test_untied_head_is_a_tensor_of_its_own(context):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(compose_model("lab-base")[1].path)
    model = tiny("llama", vocab_size=len(tokenizer), tie_word_embeddings=False)
    base = Base(ModelRef("tiny", "nowhere"), model, tokenizer, Anatomy.of(model), fingerprint(model))
    patch = made(base, context, "head", norms=False)
    assert set(patch.tensors) == {"lm_head.weight"}


def test_shared_tensors_are_trained_whole_or_not_at_all(context):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(compose_model("lab-base")[1].path)
    model = tiny("gpt2", vocab_size=len(tokenizer))
    base = Base(ModelRef("tiny", "nowhere"), model, tokenizer, Anatomy.of(model), fingerprint(model))
    with pytest.raises(ValueError, match=r"c_attn.weight holds k_proj beside parts that are trained"):
        made(base, context, "q_proj")
    assert any("c_attn" in n for n in made(base, context, "qkv", norms=False).tensors)


def test_is_trained_once_and_kept(lab, context, monkeypatch):
    first = made(lab, context, "o_proj")
    monkeypatch.setattr(freeze, "fine_tune", lambda *a: pytest.fail("trained again"))
    second = made(lab, context, "o_proj")
    assert second.digest == first.digest
    assert second.provenance.measured == first.provenance.measured
    (folder,) = [p for p in context.patches.iterdir() if p.is_dir()]
    assert Patch.load(folder).digest == first.digest


def test_other_texts_or_settings_are_another_training(lab, context, monkeypatch):
    made(lab, context, "o_proj")
    calls = []
    real = freeze.fine_tune
    monkeypatch.setattr(freeze, "fine_tune", lambda *a: calls.append(a) or real(*a))
    changed = config("o_proj")
    changed.train.seed = 5
    build(lab, VariantSpec("f", "freeze", changed), context)
    rows = context.data.root / "mine" / "texts" / "default" / "train.jsonl"
    rows.write_text(rows.read_text().replace("What", "How much"))
    made(lab, context, "o_proj")
    assert len(calls) == 2


def test_training_that_fails_leaves_nothing(lab, context):
    broken = config("o_proj")
    broken.train.learning_rate = 0.0
    with pytest.raises(RuntimeError, match="as they were"):
        build(lab, VariantSpec("f", "freeze", broken), context)
    assert not [p for p in context.patches.iterdir() if p.is_dir()]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parts": []}, "no parts to train"),
        ({"parts": ["oproj"]}, "unknown part 'oproj'"),
        ({"matched_parts": ["mlp"]}, "matched_parts and matched_to go together"),
    ],
)
def test_settings_that_do_not_go_together(lab, context, changes, words):
    given = {"parts": ["o_proj"], **changes}
    with pytest.raises(ValueError, match=words):
        made(lab, context, *given.pop("parts"), **given)


def test_plan_counts_what_is_trained(lab, context):
    text = plan_text(lab, "f", made(lab, context, "embed", "head", "o_proj"))
    assert "trained" in text
    assert "181,376 of 657,536 parameters touched" in text
