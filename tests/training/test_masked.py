"""Single elements trained: against AdamW on vectors of their own, bit by bit where nothing may move."""

import pytest
import torch
from conftest import tiny
from torch import nn

from harness.training.masked import MaskedAdamW, only_active

SETTINGS = {"lr": 0.05, "betas": (0.9, 0.99), "weight_decay": 0.1}


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "a": nn.Parameter(torch.randn(4, 5, generator=generator)),
        "b": nn.Parameter(torch.randn(7, generator=generator)),
        "none": nn.Parameter(torch.randn(3, generator=generator)),
    }


def masks(seed=1):
    generator = torch.Generator().manual_seed(seed)
    out = {name: torch.rand(p.shape, generator=generator) < 0.4 for name, p in parameters().items()}
    out["none"][:] = False
    return out


def loss_of(own):
    return sum(((p - 0.3) ** 2 * torch.arange(1, p.numel() + 1).view_as(p)).sum() for p in own.values()).sin()


@pytest.mark.parametrize("clip", [None, 0.5])
def test_chosen_elements_move_as_if_they_were_alone(clip):
    """Ten steps with decay and momentum; the oracle is torch's AdamW on the gathered vectors, the rest constants."""
    own, chosen = parameters(), masks()
    vectors = {n: nn.Parameter(p.detach()[chosen[n]].clone()) for n, p in own.items()}
    oracle = torch.optim.AdamW(vectors.values(), **SETTINGS)
    optimizer = MaskedAdamW(own, chosen, **SETTINGS)
    start = {n: p.detach().clone() for n, p in own.items()}
    with only_active(own, chosen):
        for _ in range(10):
            optimizer.zero_grad()
            loss_of(own).backward()
            oracle.zero_grad()
            loss_of({n: start[n].masked_scatter(chosen[n], vectors[n]) for n in own}).backward()
            if clip:
                ours = nn.utils.clip_grad_norm_(own.values(), clip)
                theirs = nn.utils.clip_grad_norm_(vectors.values(), clip)
                torch.testing.assert_close(ours, theirs)  # the norm is that of active elements alone
            optimizer.step()
            oracle.step()
    for name, p in own.items():
        torch.testing.assert_close(p.detach()[chosen[name]], vectors[name].detach(), atol=1e-7, rtol=1e-6)
        assert p.detach()[~chosen[name]].equal(start[name][~chosen[name]])
        assert not p.detach()[chosen[name]].equal(start[name][chosen[name]]) or name == "none"


def test_a_mask_of_all_is_adamw():
    own, other = parameters(), parameters()
    optimizer = MaskedAdamW(own, {n: torch.ones_like(p, dtype=torch.bool) for n, p in own.items()}, **SETTINGS)
    oracle = torch.optim.AdamW(other.values(), **SETTINGS)
    for _ in range(5):
        for some, step in ((own, optimizer), (other, oracle)):
            step.zero_grad()
            loss_of(some).backward()
            step.step()
    for name, p in own.items():
        assert p.equal(other[name])


def test_state_is_held_for_active_elements_only():
    own, chosen = parameters(), masks()
    optimizer = MaskedAdamW(own, chosen, **SETTINGS)
    loss_of(own).backward()
    optimizer.step()
    active = sum(int(m.sum()) for m in chosen.values())
    steps = sum(s["step"].numel() * 4 for s in optimizer.state.values())
    elements = sum(m.numel() for m in chosen.values() if m.any())
    assert optimizer.state_bytes() == 2 * 4 * active + steps + elements
    assert all(p.numel() == 0 and p.grad is None for g in optimizer.param_groups for p in g["params"])


def test_plain_masked_gradients_would_not_have_frozen():
    """Why this exists: with gradients zeroed AdamW's decay still moves what is masked."""
    own, chosen = parameters(), masks()
    start = {n: p.detach().clone() for n, p in own.items()}
    optimizer = torch.optim.AdamW(own.values(), **SETTINGS)
    with pytest.raises(RuntimeError, match="changed elements of a that are not active"), only_active(own, chosen):
        loss_of(own).backward()
        optimizer.step()
    assert not own["a"].detach()[~chosen["a"]].equal(start["a"][~chosen["a"]])


def test_a_schedule_and_state_dicts_work():
    own, chosen = parameters(), masks()
    optimizer = MaskedAdamW(own, chosen, **SETTINGS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    before = own["a"].detach().clone()
    loss_of(own).backward()
    optimizer.step()
    schedule.step()
    assert own["a"].detach().equal(before)
    again = MaskedAdamW(parameters(), chosen, **SETTINGS)
    again.load_state_dict(optimizer.state_dict())
    assert again.state_bytes() == optimizer.state_bytes()


def test_gradients_that_are_not_finite_do_not_leak_out_of_a_mask():
    p = nn.Parameter(torch.ones(2))
    mask = {"p": torch.tensor([True, False])}
    with only_active({"p": p}, mask):
        (p * torch.tensor([1.0, float("inf")])).sum().backward()
        assert p.grad.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"a": torch.zeros(2, dtype=torch.bool)}, r"a: a mask of shape \[2\] for \[4, 5\] elements"),
        ({"a": torch.zeros(4, 5, dtype=torch.bool)}, "no element is chosen"),
    ],
)
def test_masks_that_cannot_work(given, text):
    with pytest.raises(ValueError, match=text):
        MaskedAdamW({"a": parameters()["a"]}, given, **SETTINGS)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sft_moves_active_elements_only(decay):
    """Through TRL: weight decay, momentum, clipping and accumulation leave the rest bit by bit."""
    from transformers import AutoTokenizer

    from harness.config.compose import compose_model
    from harness.config.training import SFTConfig
    from harness.training import Text, fine_tune

    tokenizer = AutoTokenizer.from_pretrained(compose_model("lab-base")[1].path)
    torch.manual_seed(0)
    model = tiny("llama", vocab_size=len(tokenizer))
    names = [n for n, _ in model.named_parameters() if "q_proj" in n or "up_proj" in n]
    generator = torch.Generator().manual_seed(0)
    chosen = {n: torch.rand(model.get_parameter(n).shape, generator=generator) < 0.3 for n in names}
    config = SFTConfig(
        learning_rate=1e-2, weight_decay=decay, batch_size=4, device_batch_size=2, epochs=2, max_length=32,
        gradient_checkpointing=False,
    )  # fmt: skip
    texts = [Text(f"Question {i}:", f" answer {i}") for i in range(8)]
    done = fine_tune(model, tokenizer, texts, names, config, chosen)
    for name, tensor in done.tensors.items():
        before = model.get_parameter(name).detach()
        assert tensor[~chosen[name]].equal(before[~chosen[name]])
        assert (tensor[chosen[name]] != before[chosen[name]]).float().mean() > 0.5
