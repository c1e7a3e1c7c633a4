"""The gradient of REINFORCE against TRL's own loss, where that is the same: advantages are rewards, no baseline."""

import copy
import os
from contextlib import nullcontext

import pytest
import torch
from conftest import tiny

from harness.config.training import RLConfig
from harness.training.objective import objective

LENGTH = 5


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """TRL's GRPO over a tiny model; ``dr_grpo`` divides by a constant and nothing else."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    from harness.config.compose import compose_model

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(compose_model("lab-base")[1].path)
    tokenizer.pad_token = tokenizer.eos_token
    settings = GRPOConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        report_to="none",
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=LENGTH,
        loss_type="dr_grpo",
        beta=0.0,
        temperature=1.0,
        disable_dropout=True,
    )
    rows = Dataset.from_list([{"prompt": "a"}] * 4)
    made = GRPOTrainer(tiny("llama"), lambda **_: [0.0], args=settings, train_dataset=rows, processing_class=tokenizer)
    yield made
    os.environ.pop("ACCELERATE_USE_CPU", None)


def drawn(seed=0):
    generator = torch.Generator().manual_seed(seed)
    prompts = torch.randint(2, 60, (4, 6), generator=generator)
    answers = torch.randint(2, 60, (4, LENGTH), generator=generator)
    lengths = [5, 3, 4, 1]
    return prompts, answers, lengths


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_the_gradient_is_trls_without_a_baseline(trainer):
    model = trainer.model.eval()
    mine = copy.deepcopy(model)
    prompts, answers, lengths = drawn()
    rewards = torch.tensor([1.0, -1.0, -1.0, 1.0])
    mask = (torch.arange(LENGTH)[None] < torch.tensor(lengths)[:, None]).long()
    inputs = {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": answers,
        "completion_mask": mask,
        "advantages": rewards,
        "num_items_in_batch": mask.sum(),
    }
    trainer.compute_loss(model, inputs).backward()
    theirs = gradients(model)
    loss, penalty = objective(
        mine,
        prompts.tolist(),
        [row[:n] for row, n in zip(answers.tolist(), lengths, strict=True)],
        rewards.tolist(),
        nullcontext,
        RLConfig(kl=0.0),
    )
    (loss / (4 * LENGTH)).backward()  # what dr_grpo divides by
    assert penalty == 0.0
    assert len(theirs) > 20
    for name, gradient in gradients(mine).items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("direction", ["new_base", "base_new"])
def test_at_the_first_step_there_is_no_distance(direction):
    """The model is its own base: the penalty is 0, and so is its gradient."""
    model = tiny("llama")
    prompts, answers, _ = drawn()
    config = RLConfig(kl=1.0, kl_direction=direction)
    loss, penalty = objective(model, prompts.tolist(), answers.tolist(), [0.0] * 4, nullcontext, config)
    loss.backward()
    assert abs(penalty) < 1e-5
    assert max(float(g.abs().max()) for g in gradients(model).values()) < 1e-5
