"""Adapters of other kinds and another objective; PEFT's own forward pass is the oracle."""

import copy
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from test_svf import TRAIN, Asked, asking

import harness.tasks.load  # noqa: F401 - registers the lab's data sets
from harness.config.compose import compose_model
from harness.config.specs import VariantSpec
from harness.config.training import SFTConfig, TextsConfig
from harness.config.tuning import Ia3Variant, LoraVariant, SvfVariant
from harness.config.variants import ComposedVariant, DestroyVariant
from harness.models import ModelRef, load_base
from harness.svf import SvfConfig
from harness.variants import NotMadeError, build
from harness.variants.injected import injected, modules_of

KINDS = {"svf": SvfVariant, "lora": LoraVariant, "ia3": Ia3Variant}
SFT = SFTConfig(learning_rate=0.02, batch_size=4, epochs=2, max_length=96, gradient_checkpointing=False)
TEXTS = TextsConfig(path="harness/lab", name="gsm8k_worked", limit=16)


@pytest.fixture(scope="module")
def lab():
    return load_base(ModelRef("lab-base", compose_model("lab-base")[1].path, device="cpu"))


@pytest.fixture
def context(tmp_path):
    return asking(tmp_path)


def made(base, context, kind, **changes):
    config = KINDS[kind](**{"task": "t", "held_back": 8, "train": TRAIN, "sft": SFT, "layers": "0:2", **changes})
    return build(base, VariantSpec("s", kind, config), context)


def same(model, before):
    return all(p.equal(before[n]) and not p.requires_grad for n, p in model.named_parameters())


@pytest.mark.parametrize("objective", ["reinforce", "next_token"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_patch_computes_what_the_adapter_computes(lab, context, kind, objective, monkeypatch):
    import harness.training.reinforce as module

    looks = iter(range(9))
    monkeypatch.setattr(module, "_score", lambda *_: next(looks))  # each look is better than the one before
    lab.model.requires_grad_(False)
    before = {n: p.clone() for n, p in lab.model.named_parameters()}
    texts = TEXTS if objective == "next_token" else None
    patch = made(lab, context, kind, objective=objective, texts=texts)
    assert same(lab.model, before)
    assert not hasattr(lab.model, "peft_config")
    (folder,) = context.patches.glob(f"{kind}-*")
    adapted = PeftModel.from_pretrained(copy.deepcopy(lab.model), folder).eval()
    ids = torch.tensor([lab.tokenizer.encode("Question: Tom has 3 apples.\nAnswer: 7")])
    with torch.no_grad():
        wanted, plain = adapted(ids).logits, lab.model(ids).logits
    with patch.applied(lab.model) as model, torch.no_grad():
        torch.testing.assert_close(model(ids).logits, wanted, atol=1e-4, rtol=1e-4)
    assert (wanted - plain).abs().max() > 1e-3
    trained = sum(p.numel() for n, p in adapted.named_parameters() if "ia3_" in n or "lora_" in n or "svf_z" in n)
    assert patch.provenance.trained == trained
    key = "first_loss" if objective == "next_token" else "first_score"
    assert key in patch.provenance.measured


@pytest.mark.parametrize("kind", KINDS)
def test_next_tokens_are_learned(lab, context, kind):
    backwards = replace(TEXTS, prompt="completion", completion="prompt")
    settings = replace(SFT, learning_rate=0.005, epochs=6)
    patch = made(lab, context, kind, objective="next_token", texts=backwards, sft=settings)
    assert patch.provenance.measured["last_loss"] < patch.provenance.measured["first_loss"]


def test_the_tasks_own_answers_are_learned_where_no_texts_are_named(lab, context, monkeypatch):
    import harness.variants.tuned as module

    seen = []
    real = module.fine_tune
    monkeypatch.setattr(module, "fine_tune", lambda *a: seen.append(a[2]) or real(*a))
    monkeypatch.setattr(Asked, "target", property(lambda self: f" {self.name}"))
    made(lab, context, "svf", objective="next_token")
    assert [(t.prompt[:17], t.completion) for t in seen[0][:2]] == [
        ("Question: What is", " q0"),
        ("Question: What is", " q1"),
    ]


def test_what_was_injected_is_gone_also_when_the_body_raises(lab):
    lab.model.requires_grad_(False)
    before = {n: p.clone() for n, p in lab.model.named_parameters()}
    types = [type(m) for m in lab.model.modules()]
    settings = SvfConfig(target_modules=["gate_proj", "o_proj"], init_std=0.5)

    def use():
        with injected(lab, settings) as adapted:
            assert sum(p.requires_grad for p in adapted.parameters()) == 8
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        use()
    assert same(lab.model, before)
    assert [type(m) for m in lab.model.modules()] == types
    assert set(before) == {n for n, _ in lab.model.named_parameters()}


def test_an_injection_that_fails_half_way_leaves_the_base(lab):
    """The first layers are adapted when the embedding, which cannot be, is met."""
    types = [type(m) for m in lab.model.modules()]
    with (
        pytest.raises(ValueError, match="SVF works on Linear and Conv1D"),
        injected(lab, SvfConfig(target_modules=["gate_proj", "norm"])),
    ):
        pass
    assert [type(m) for m in lab.model.modules()] == types
    assert not hasattr(lab.model, "peft_config")


def test_the_start_is_seeded(lab):
    def drawn(seed):
        torch.rand(seed + 1)  # what was drawn before does not matter
        with injected(lab, SvfConfig(target_modules=["gate_proj"], init_std=0.5), seed) as adapted:
            return next(p for n, p in adapted.named_parameters() if "svf_z" in n).detach().clone()

    assert drawn(1).equal(drawn(1))
    assert not drawn(1).equal(drawn(2))


def test_the_feed_forward_of_ia3_scales_inputs(lab, context):
    """Scaled inputs change columns of the weight, scaled outputs rows."""
    made(lab, context, "ia3")
    (folder,) = context.patches.glob("ia3-*")
    adapted = PeftModel.from_pretrained(copy.deepcopy(lab.model), folder)
    shapes = {n.split(".")[-3]: tuple(p.shape) for n, p in adapted.named_parameters() if "ia3_l" in n}
    inner, keys = lab.model.config.intermediate_size, lab.model.get_parameter("model.layers.0.self_attn.k_proj.weight")
    assert shapes["down_proj"] == (1, inner)
    assert shapes["k_proj"] == (keys.shape[0], 1)


def test_a_fused_weight_is_adapted_whole():
    from conftest import tiny

    from harness.anatomy import Anatomy
    from harness.models import Base, fingerprint

    model = tiny("gpt2")
    base = Base(ModelRef("tiny", "nowhere"), model, None, Anatomy.of(model), fingerprint(model))
    with pytest.raises(ValueError, match="holds k_proj beside parts that are adapted"):
        modules_of(base, ["q_proj", "v_proj"], None)
    assert list(modules_of(base, ["q_proj", "k_proj", "v_proj"], "0:1")) == ["transformer.h.0.attn.c_attn"]


@pytest.mark.parametrize(
    ("kind", "changes", "text"),
    [
        ("lora", {"objective": "odd"}, "objective 'odd': expected reinforce or next_token"),
        ("lora", {"rank": 0}, "rank 0"),
        ("lora", {"dropout": 1.0}, "dropout 1.0"),
        ("ia3", {"task": None}, "ia3: no task to train on"),
        ("lora", {"parts": ["nonsense"]}, "nonsense"),
    ],
)
def test_settings_that_cannot_work(lab, context, kind, changes, text):
    with pytest.raises(ValueError, match=text):
        made(lab, context, kind, **changes)


def test_what_is_trained_after_another_step_is_kept_apart(lab, context):
    """The base of a composed variant's second step is what the first one made of it."""
    svf = VariantSpec("s", "svf", SvfVariant(task="t", held_back=8, train=TRAIN, layers="0:2", init_std=0.05))
    zeroed = VariantSpec("z", "destroy", DestroyVariant(parts=["o_proj"], layers="0:1"))
    build(lab, VariantSpec("c", "composed", ComposedVariant(steps=[zeroed, svf])), context)
    after = {p.name for p in context.patches.glob("svf-*")}
    build(lab, svf, context)
    build(lab, VariantSpec("c", "composed", ComposedVariant(steps=[svf])), context)
    assert len({p.name for p in context.patches.glob("svf-*")} - after) == 1


def test_other_grades_are_another_training(lab, context, monkeypatch):
    made(lab, context, "svf")
    monkeypatch.setattr(Asked, "digest", "others are right")
    made(lab, context, "svf")
    assert len(list(context.patches.glob("svf-*"))) == 2


def test_a_plan_trains_nothing(lab, context):
    dry = replace(context, dry=True)
    with pytest.raises(NotMadeError, match=r"svf is not trained yet; a run trains it and keeps it in .*svf-"):
        made(lab, dry, "svf")
    assert list(context.patches.glob("svf-*")) == []
    assert made(lab, context, "svf").digest == made(lab, dry, "svf").digest


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("training.json", "{", "training.json cannot be read"),
        ("training.json", "{}", "training.json has no parameters"),
        ("training.json", None, "training.json cannot be read"),
        ("adapter_config.json", '{"peft_type"', "adapter_config.json cannot be read"),
        ("adapter_model.safetensors", "short", "adapter_model.safetensors is damaged"),
        ("adapter_model.safetensors", None, "holds no adapter_model.safetensors"),
    ],
)
def test_damaged_files_are_named(lab, context, name, content, text):
    made(lab, context, "svf")
    (folder,) = context.patches.glob("svf-*")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(ValueError, match=text):
        made(lab, context, "svf")


@pytest.mark.parametrize("part", ["embed", "head", "norm"])
def test_what_is_no_projection_is_not_adapted(lab, context, part):
    with pytest.raises(ValueError, match=f"{part} is none; take away -{part}"):
        made(lab, context, "svf", parts=["mlp", part], layers=None)


def test_what_a_killed_training_left_is_cleared(tmp_path):
    from harness.variants import Context

    context = Context(lambda name: None, patches=tmp_path)
    made = context.folder_once("svf", {"a": 1}, lambda folder: folder.mkdir())
    made.rmdir()
    left, other = (tmp_path / f".{name}-abc" for name in (made.name, "svf-other"))
    for folder in (left, other):
        (folder / "whole").mkdir(parents=True)
    assert context.folder_once("svf", {"a": 1}, lambda folder: folder.mkdir()) == made
    assert not left.exists()
    assert other.exists()
