"""SVF trained by reinforcement: what is trained, what is kept, and that it is trained once."""

import json
from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import load_file

from harness.config.compose import compose_model
from harness.config.specs import VariantSpec
from harness.config.training import RLConfig
from harness.config.tuning import SvfVariant
from harness.models import ModelRef, load_base
from harness.patch import Patch
from harness.variants import Context, build, plan_text

TRAIN = RLConfig(batch_size=8, steps=2, evaluate_every=1, max_tokens=8, learning_rate=0.05, clip=1.0, kl=0.1)


@dataclass
class Asked:
    """A question whose right answers begin with a digit."""

    prompt: str
    name: str
    settings: dict = field(default_factory=lambda: {"until": ["\n"]})

    digest = ""
    images = ()

    @property
    def target(self):
        return " 7"

    def grade(self, text):
        return 1.0 if text.strip()[:1].isdigit() else -1.0


@pytest.fixture(scope="module")
def lab():
    return load_base(ModelRef("lab-base", compose_model("lab-base")[1].path, device="cpu"))


def asking(folder, asked=None):
    """A context that asks 24 sums, and keeps what is trained below a folder."""

    def questions(task, settings, limit):
        return [Asked(f"Question: What is {i} plus {i}?\nAnswer:", f"q{i}") for i in range(limit or 24)]

    return Context(lambda name: None, patches=folder / "patches", questions=questions, asked=asked)


@pytest.fixture
def context(tmp_path):
    return asking(tmp_path)


def made(base, context, **changes):
    config = SvfVariant(**{"task": "t", "held_back": 8, "train": TRAIN, "layers": "0:2", **changes})
    return build(base, VariantSpec("s", "svf", config), context)


def test_the_patch_is_the_adapter_and_nothing_else(lab, context):
    before = {n: p.clone() for n, p in lab.model.named_parameters()}
    patch = made(lab, context)
    assert all(p.equal(before[n]) for n, p in lab.model.named_parameters())
    assert all(".mlp." in n and n.split(".")[2] in "01" for n in patch.tensors)
    assert len(patch.tensors) == 2 * 3
    (folder,) = context.patches.glob("svf-*")
    z = load_file(folder / "adapter_model.safetensors")
    assert sum(t.numel() for t in z.values()) == patch.provenance.trained == 2 * 3 * 128
    for name, tensor in patch.tensors.items():
        w = before[name].double()
        u, s, v = torch.linalg.svd(w, full_matrices=False)
        module = name.removesuffix(".weight")
        scale = z[f"base_model.model.{module}.svf_z"].double()
        torch.testing.assert_close(tensor.double(), u @ torch.diag(s * scale) @ v, atol=1e-5, rtol=1e-4)
    assert patch.provenance.measured["steps"] == 2
    assert "svf" in plan_text(lab, "s", patch)


def test_it_is_trained_once_and_again_for_other_settings(lab, context, monkeypatch):
    import harness.variants.answering as module

    calls = []
    real = module.reinforce
    monkeypatch.setattr(module, "reinforce", lambda *a: calls.append(1) or real(*a))
    first: Patch = made(lab, context)
    assert made(lab, context).digest == first.digest
    assert len(calls) == 1
    made(lab, context, questions=23)
    made(lab, context, parts=["o_proj"])
    assert len(calls) == 3


def test_a_training_that_fails_leaves_nothing(lab, context, monkeypatch):
    import harness.variants.answering as module

    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(module, "reinforce", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        made(lab, context)
    assert [p for p in context.patches.iterdir() if not p.name.endswith(".lock")] == []


def test_where_no_step_was_better_the_variant_is_the_base(lab, context, monkeypatch, caplog):
    monkeypatch.setattr(Asked, "grade", lambda self, text: 1.0)  # nothing can be better than all right
    patch = made(lab, context)
    assert patch.is_empty
    assert patch.provenance.measured["best_step"] == 0
    assert "no step was better than the start" in caplog.text


def test_the_training_says_what_it_measured(lab, context):
    made(lab, context)
    (folder,) = context.patches.glob("svf-*")
    measured = json.loads((folder / "training.json").read_text())
    assert measured["parameters"] == 768
    assert -1 <= measured["first_score"] <= measured["best_score"] <= 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"task": None}, "no task to train on"),
        ({"held_back": 20}, "4 questions to learn from and 20 held back; a step takes 8"),
        ({"layers": "7:9"}, "layers"),
        ({"form": "odd"}, "form 'odd'"),
    ],
)
def test_settings_that_cannot_work(lab, context, changes, text):
    with pytest.raises(ValueError, match=text):
        made(lab, context, **changes)
