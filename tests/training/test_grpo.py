"""GRPO through TRL: the reference is the base, the stage starts where it should, masks hold."""

import pytest
import torch
from conftest import tiny
from transformers import AutoTokenizer

from harness.anatomy import Anatomy
from harness.config.compose import compose_model
from harness.config.par import LoraParVariant
from harness.config.training import GRPOConfig
from harness.models import Base, ModelRef, fingerprint
from harness.training.grpo import Prompt, optimise
from harness.variants.answering import trained_parameters
from harness.variants.start import started

SMALL = {"prompts": 2, "generations": 4, "max_tokens": 6, "max_steps": 2, "learning_rate": 1e-2, "warmup_ratio": 0.0}


@pytest.fixture(scope="module")
def base():
    tokenizer = AutoTokenizer.from_pretrained(compose_model("lab-base")[1].path)
    torch.manual_seed(0)
    model = tiny("llama", vocab_size=len(tokenizer)).eval()
    return Base(ModelRef("tiny", "nowhere"), model, tokenizer, Anatomy.of(model), fingerprint(model))


def vowels(text):
    return float(sum(letter in "aeiou" for letter in text))


def prompts(count=8):
    return [Prompt(f"Question {i}:", vowels) for i in range(count)]


def run(base, init, masks=None, move=0.0, **changes):
    config = LoraParVariant(init=init, rank=2, alpha=16.0, parts=["q_proj", "v_proj", "down_proj"])
    with started(base, config) as adapted:
        parameters = trained_parameters(base.model)
        with torch.no_grad():
            for p in parameters.values():
                p.add_(torch.full_like(p, move))
        before = {n: p.detach().clone() for n, p in parameters.items()}
        chosen = masks(parameters) if masks else None
        done = optimise(
            adapted, base.tokenizer, prompts(), list(parameters), GRPOConfig(**{**SMALL, **changes}), chosen
        )
    return done, before, chosen


@pytest.mark.parametrize("init", ["default", "orthogonal", "pissa", "olora"])
def test_the_distance_to_the_base_is_0_before_the_first_step(base, init):
    """With all adapters off it is the base: TRL's own reference would be the residual weights, or a second start."""
    done, _, _ = run(base, init, beta=0.5)
    assert done.first_distance == pytest.approx(0.0, abs=1e-5)
    assert done.last_distance > 1e-5


def test_the_distance_counts_from_the_base_and_not_from_the_stages_start(base):
    done, _, _ = run(base, "pissa", move=0.05, beta=0.5)
    assert done.first_distance > 1e-3


def test_without_beta_there_is_no_distance(base):
    done, _, _ = run(base, "default", beta=0.0)
    assert done.first_distance == done.last_distance == 0


def test_only_active_elements_move(base):
    def half(parameters):
        generator = torch.Generator().manual_seed(0)
        return {n: torch.rand(p.shape, generator=generator) < 0.5 for n, p in parameters.items()}

    done, before, chosen = run(base, "orthogonal", half, beta=0.1, weight_decay=0.1)
    moved = 0
    for name, tensor in done.tensors.items():
        assert tensor[~chosen[name]].equal(before[name][~chosen[name]])
        moved += int((tensor != before[name]).sum())
    assert moved > 0


def test_it_is_seeded_and_leaves_the_base_alone(base):
    weights = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    state = torch.random.get_rng_state()
    one, _, _ = run(base, "pissa", beta=0.1)
    assert torch.random.get_rng_state().equal(state)
    two, _, _ = run(base, "pissa", beta=0.1)
    other, _, _ = run(base, "pissa", beta=0.1, seed=3)
    assert all(one.tensors[n].equal(two.tensors[n]) for n in one.tensors)
    assert not all(one.tensors[n].equal(other.tensors[n]) for n in one.tensors)
    for name, parameter in base.model.named_parameters():
        assert parameter.equal(weights[name])


@pytest.mark.slow
def test_what_is_rewarded_becomes_more():
    """The lab's model works three problems in ten out when it draws; rewarded for that, it does so nearly always."""
    from harness.lab.datasets import rows
    from harness.models import load_base

    lab = load_base(ModelRef("lab-base", compose_model("lab-base")[1].path, dtype="float32", device="cpu"))
    asked = [Prompt(row["prompt"], lambda text: float(" so " in text)) for row in rows("gsm8k_worked", "train")[:64]]
    settings = GRPOConfig(
        learning_rate=1e-2, prompts=8, generations=8, max_tokens=48, max_steps=30, beta=0.0, temperature=1.0, clip=1.0
    )
    with started(lab, LoraParVariant(init="default", parts=["q_proj", "v_proj"], alpha=16.0)) as adapted:
        names = list(trained_parameters(lab.model))
        done = optimise(adapted, lab.tokenizer, asked, names, settings)
    assert done.first_reward < 0.6
    assert done.last_reward > 0.9
    assert done.steps == 30


def test_answers_that_are_all_worth_the_same_teach_nothing_and_say_so(base):
    config = LoraParVariant(init="default", rank=2, parts=["q_proj"])
    with started(base, config) as adapted, pytest.raises(RuntimeError, match="were all answers of every group worth"):
        names = list(trained_parameters(base.model))
        same = [Prompt(f"Question {i}:", lambda text: 1.0) for i in range(4)]
        optimise(adapted, base.tokenizer, same, names, GRPOConfig(**{**SMALL, "beta": 0.0, "weight_decay": 0.0}))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"loss": "ppo"}, "loss 'ppo': expected one of grpo"),
        ({"scale": "all"}, "scale 'all'"),
        ({"generations": 1}, "generations 1 is too small; at least 2"),
        ({"prompts": 9}, "8 prompts; a step takes 9"),
        ({"device_batch_size": 3}, "2 x 4 answers are no multiple of 3"),
        ({"temperature": 0.0}, "temperature are above 0"),
    ],
)
def test_settings_that_cannot_work(base, changes, text):
    with pytest.raises(ValueError, match=text):
        run(base, "default", **changes)
