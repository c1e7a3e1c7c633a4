"""Both stages of LoRA-PAR and its baselines, small, on the lab's model."""

import json
from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import load_file

import harness.tasks.load  # noqa: F401 - makes the lab's data sets known
from harness.config.compose import compose_model
from harness.config.par import LoraParVariant, SplitConfig
from harness.config.specs import VariantSpec
from harness.config.training import GRPOConfig, SFTConfig, TextsConfig
from harness.models import ModelRef, load_base
from harness.patch import Patch
from harness.variants import Context, build
from harness.variants.lora_par import needs_split

SFT = SFTConfig(
    learning_rate=1e-3, weight_decay=0.1, batch_size=4, epochs=1, max_length=48, gradient_checkpointing=False
)
RL = GRPOConfig(learning_rate=1e-3, prompts=2, generations=4, max_steps=2, max_tokens=6, warmup_ratio=0.0)


@dataclass
class Asked:
    """Sums of small numbers are System 1, of large ones System 2; an answer that begins with a digit is right."""

    number: int
    settings: dict = field(default_factory=lambda: {"until": ["\n"]})
    images = ()

    @property
    def name(self):
        return f"q{self.number}"

    @property
    def prompt(self):
        return f"Question: What is {self.number} plus {self.number}?\nAnswer:"

    text = prompt

    @property
    def target(self):
        return f" #### {2 * self.number}"

    @property
    def truth(self):
        return "system2" if self.number >= 12 else "system1"

    @property
    def digest(self):
        return self.name

    def grade(self, text):
        return 1.0 if any(c.isdigit() for c in text) else -1.0


@pytest.fixture(scope="module")
def lab():
    return load_base(ModelRef("lab-base", compose_model("lab-base")[1].path, device="cpu"))


def asking(folder):
    def questions(task, settings, limit):
        return [Asked(i) for i in range(limit or 24)]

    return Context(lambda name: None, patches=folder / "patches", questions=questions)


@pytest.fixture
def context(tmp_path):
    return asking(tmp_path)


def config(**changes):
    given = {
        "tasks": ["t"], "held_back": 6, "split": SplitConfig(by="truth"), "samples": 6, "sft": SFT, "rl": RL,
        "parts": ["q_proj", "down_proj"], "rank": 4, "alpha": 16.0, "seed": 0,
    }  # fmt: skip
    return LoraParVariant(**{**given, **changes})


def made(base, context, **changes):
    return build(base, VariantSpec("p", "lora_par", config(**changes)), context)


def folder_of(context):
    (folder,) = context.patches.glob("lora_par-*")
    return folder


def measured(context):
    return json.loads((folder_of(context) / "training.json").read_text())


def test_the_whole_pipeline(lab, context):
    """What it leaves: a plain adapter, the patch that it makes, the votes, the regions and every figure."""
    before = {n: p.clone() for n, p in lab.model.named_parameters()}
    patch = made(lab, context, rates=[1e-3, 1e-4])
    assert isinstance(patch, Patch)
    assert all(p.equal(before[n]) for n, p in lab.model.named_parameters())
    assert {n.split(".")[-2] for n in patch.tensors} == {"q_proj", "down_proj"}
    adapter = load_file(folder_of(context) / "adapter_model.safetensors")
    for name, tensor in patch.tensors.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        delta = 4.0 * adapter[f"{stem}.lora_B.weight"] @ adapter[f"{stem}.lora_A.weight"]  # alpha / rank
        torch.testing.assert_close(tensor, before[name] + delta, atol=1e-6, rtol=1e-5)
    found = measured(context)
    elements = sum(t.numel() for t in adapter.values())
    assert found["parameters"] == found["region_elements"] == elements == patch.provenance.trained
    assert found["sft_active"] == found["region_system1"] < elements
    assert found["rl_active"] == found["region_system2"] < elements
    assert (found["split_system1"], found["split_system2"]) == (12, 12)
    assert found["sft_items"] + found["rl_items"] == 24 - 6
    assert set(found["sft_rates"]) == {"0.001", "0.0001"}
    assert found["sft_held_back_score"] == max(found["sft_rates"].values())
    assert (found["sft_steps"], found["rl_steps"]) == (-(-found["sft_items"] // 4), 2)
    assert patch.provenance.measured["region_jaccard"] == found["region_jaccard"]
    regions = json.loads((folder_of(context) / "regions.json").read_text())
    assert sum(row["system1"] for row in regions.values()) == found["region_system1"]
    assert sum(row["elements"] for row in regions.values()) == elements
    assert (folder_of(context) / "regions.png").stat().st_size > 10_000


def test_a_stage_changes_its_own_elements_alone(lab, tmp_path):
    """Only SFT, then both, from one seed: what only the second has changed lies in System 2's region."""
    states, actives = [], []
    for stages in (["sft"], ["sft", "rl"]):
        context = asking(tmp_path / "-".join(stages))
        made(lab, context, stages=stages)
        states.append(load_file(folder_of(context) / "adapter_model.safetensors"))
        actives.append(measured(context))
    moved = sum(int((states[0][n] != states[1][n]).sum()) for n in states[0])
    assert 0 < moved <= actives[1]["rl_active"]


def test_the_split_is_made_once_for_all_variants(lab, context):
    for theta in (0.5, 0.9):
        made(lab, context, theta=theta, stages=["sft"])
    assert len(list(context.patches.glob("split-*"))) == 1
    assert len(list(context.patches.glob("lora_par-*"))) == 2


def test_it_is_trained_once_and_by_its_seed(lab, tmp_path):
    one = made(lab, asking(tmp_path / "a"))
    again = made(lab, asking(tmp_path / "a"))
    same = made(lab, asking(tmp_path / "b"))
    other = made(lab, asking(tmp_path / "c"), seed=1)
    assert one.digest == again.digest == same.digest != other.digest


BASELINES = {
    "LoRA": {"init": "default"},
    "OLoRA": {"init": "olora"},
    "PiSSA": {"init": "pissa"},
    "rsLoRA": {"init": "default", "rslora": True},
    "DoRA": {"init": "default", "dora": True},
    "full": {"adapter": "full"},
}


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_is_one_field(lab, context, name):
    patch = made(lab, context, mask="none", stages=["sft"], sft_on="all", held_back=0, **BASELINES[name])
    assert not list(context.patches.glob("split-*"))
    figures = patch.provenance.measured
    assert figures["sft_items"] == 24
    size = sum(lab.model.get_parameter(n).numel() for n in patch.tensors)
    assert figures["sft_active"] == (size if name == "full" else patch.provenance.trained)
    if name in ("OLoRA", "PiSSA"):
        held = json.loads((folder_of(context) / "adapter_config.json").read_text())
        assert (held["r"], held["init_lora_weights"]) == (8, True)


@pytest.mark.parametrize("init", ["default", "pissa"])
def test_sft_and_rl_without_masks(lab, context, init):
    patch = made(lab, context, mask="none", init=init, sft_on="all", rl_on="all", held_back=0)
    assert patch.provenance.measured["rl_active"] == patch.provenance.trained
    assert patch.provenance.measured["rl_items"] == 24


@pytest.mark.slow
def test_random_masks_are_of_equal_size(lab, tmp_path):
    figures = [made(lab, asking(tmp_path / mask), mask=mask).provenance.measured for mask in ("importance", "random")]
    for key in ("sft_active", "rl_active", "region_system1", "region_system2"):
        assert figures[0][key] == figures[1][key]


@pytest.mark.slow
def test_the_order_may_be_turned(lab, context):
    patch = made(lab, context, stages=["rl", "sft"], rl_rates=[1e-3, 1e-4])
    assert list(patch.provenance.measured["rl_rates"]) == ["0.001", "0.0001"]
    assert patch.provenance.measured["rl_first_distance"] > 0  # the released code's start is not the base
    centred = made(lab, asking(context.patches.parent / "centred"), stages=["rl", "sft"], centred=True)
    assert centred.provenance.measured["rl_first_distance"] == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
def test_shares_of_what_both_hold(lab, tmp_path):
    sizes = [
        made(lab, asking(tmp_path / str(share)), stages=["sft"], sft_shared=share).provenance.measured
        for share in (0.0, 0.5, 1.0)
    ]
    own = sizes[0]["region_system1"] - sizes[0]["region_shared"]
    assert [s["sft_active"] for s in sizes] == [
        own, own + sizes[0]["region_shared"] // 2, sizes[0]["region_system1"],
    ]  # fmt: skip


def test_texts_are_learned_and_rewarded_for_their_form(lab, tmp_path):
    """A data set without a task: the paper's rewards need nothing but the text's own answer."""
    context = Context(lambda name: None, patches=tmp_path / "patches")
    texts = TextsConfig(path="harness/lab", name="letters", prompt="prompt", completion=" {answerKey}", limit=16)
    patch = made(
        lab, context, tasks=[], texts=texts, reward="paper", split=SplitConfig(by="random"), held_back=0,
        sft=SFTConfig(learning_rate=1e-3, batch_size=4, epochs=1, max_length=128, gradient_checkpointing=False),
        instruction="Respond.\n",
    )  # fmt: skip
    assert patch.provenance.measured["sft_items"] + patch.provenance.measured["rl_items"] == 16


@pytest.mark.parametrize("init", ["default", "gaussian"])
def test_a_start_without_importance_is_refused(lab, context, init):
    with pytest.raises(ValueError, match=r"variant p on lab-base: importance: every score is 0.*normal, orthogonal"):
        made(lab, context, init=init)
    assert not list(context.patches.glob("lora_par-*"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tasks": []}, "give what is learned from"),
        ({"texts": TextsConfig(path="harness/lab")}, "give what is learned from"),
        ({"stages": []}, r"stages \[\]: expected sft, rl or both"),
        ({"stages": ["sft", "sft"]}, "each once"),
        ({"mask": "some"}, "mask 'some': expected importance, random, none"),
        ({"reward": "luck"}, "reward 'luck'"),
        ({"sft_on": "system3"}, "sft_on 'system3'"),
        ({"adapter": "full"}, r"adapter=full trains whole weights: stages=\[sft\] and mask=none"),
        ({"rates": [1e-3], "held_back": 0}, "compared on held-back items: held_back 0"),
        ({"rates": [0.0]}, "rates .*: numbers above 0"),
        ({"held_back": 24, "rates": [1e-3]}, "held_back 24 of 24 items leaves nothing"),
        ({"theta": 1.5}, r"theta 1\.5: a share above 0"),
        ({"samples": 0}, "samples 0: at least 1"),
        ({"split": SplitConfig()}, "no teachers to vote"),
        ({"questions": 4, "held_back": 0}, "no training item is of system2"),
        ({"parts": ["norm"]}, "adapters go into projections"),
        ({"sft": SFTConfig(max_length=4)}, "no item of system1 has an answer within sft.max_length 4"),
        ({"sft": SFTConfig(max_length=4), "mask": "none"}, "max_length 4 leaves nothing to learn of any of"),
        ({"rl": GRPOConfig(loss="foo")}, "rl: loss 'foo'"),
        ({"rl": GRPOConfig(betas=[0.9])}, r"betas \[0.9\]: AdamW has two"),
        ({"rl": GRPOConfig(max_steps=0)}, "max_steps 0: at least 1"),
        ({"sft": SFTConfig(max_steps=-2)}, "max_steps -2: at least 1"),
        ({"rl_shared": 2.0}, r"rl_shared 2\.0: a share from 0 to 1"),
    ],
)
def test_settings_that_cannot_work(lab, context, changes, text):
    with pytest.raises(ValueError, match=text):
        made(lab, context, **changes)


def test_what_needs_a_split():
    assert needs_split(config())
    assert not needs_split(config(mask="none", stages=["sft"], sft_on="all"))
    assert needs_split(config(mask="none", stages=["sft"], sft_on="system1"))
    assert needs_split(config(mask="random", sft_on="all", rl_on="all"))
    assert not needs_split(config(mask="none", stages=["rl"], rl_on="all"))
