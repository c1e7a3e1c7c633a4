"""Starts of a LoRA: PEFT's own factors, a base that stays the base, and plain adapters on disk."""

import copy

import pytest
import torch
from conftest import tiny
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoTokenizer

from harness.anatomy import Anatomy
from harness.config.compose import compose_model
from harness.config.par import LoraParVariant
from harness.models import Base, ModelRef, fingerprint
from harness.variants.adapter import merged
from harness.variants.start import keep_adapter, started

PARTS = ["q_proj", "v_proj", "down_proj"]
STARTS = ["normal", "default", "gaussian", "orthogonal", "pissa", "pissa_niter_4", "olora"]


def made(dtype=torch.float32):
    tokenizer = AutoTokenizer.from_pretrained(compose_model("lab-base")[1].path)
    torch.manual_seed(0)
    model = tiny("llama").to(dtype).eval()
    return Base(ModelRef("tiny", "nowhere"), model, tokenizer, Anatomy.of(model), fingerprint(model))


@pytest.fixture
def base():
    return made()


IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def config(init, **changes):
    return LoraParVariant(**{"init": init, "rank": 4, "alpha": 32.0, "parts": PARTS, **changes})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("init", STARTS)
def test_switched_off_it_is_the_base_bit_by_bit(init, dtype):
    """PEFT alone leaves the residual weights there for PiSSA and OLoRA."""
    base = made(dtype)
    before, weights = (
        logits(base.model),
        {n: (p, p.data_ptr(), p.detach().clone()) for n, p in base.model.named_parameters()},
    )
    with started(base, config(init)) as adapted:
        with adapted.disable_adapter():
            assert logits(adapted).equal(before)
        trained = [n for n, p in adapted.named_parameters() if p.requires_grad]
        assert trained
        assert all(".default." in n for n in trained)
    assert logits(base.model).equal(before)
    for name, parameter in base.model.named_parameters():
        assert parameter is weights[name][0]
        assert parameter.data_ptr() == weights[name][1]
        assert parameter.equal(weights[name][2])


@pytest.mark.parametrize(("init", "at_base"), [(init, init not in ("normal", "orthogonal")) for init in STARTS])
def test_where_it_starts(base, init, at_base):
    before = logits(base.model)
    with started(base, config(init)) as adapted:
        assert torch.allclose(logits(adapted), before, atol=1e-4) == (at_base or init == "orthogonal")
    with started(base, config(init, centred=True)) as adapted:
        torch.testing.assert_close(logits(adapted), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_the_factors_and_their_gradients_are_pefts(base, init):
    """The same function of the same factors: only the weights are not cut in two."""
    with started(base, config(init)) as adapted:
        ours = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
        loss = adapted(input_ids=IDS, labels=IDS).loss
        gradients = dict(zip(ours, torch.autograd.grad(loss, list(ours.values())), strict=True))
        theirs = get_peft_model(
            copy.deepcopy(made().model), LoraConfig(r=4, lora_alpha=32.0, target_modules=PARTS, init_lora_weights=init)
        )
        loss = theirs(input_ids=IDS, labels=IDS).loss
        own = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
        expected = dict(zip(own, torch.autograd.grad(loss, list(own.values())), strict=True))
        assert set(ours) == set(own)
        for name, parameter in ours.items():
            torch.testing.assert_close(parameter, own[name], atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(gradients[name], expected[name], atol=1e-5, rtol=1e-3)


def test_normal_is_the_released_codes_start(base):
    with started(base, config("normal", rank=16)) as adapted:
        drawn = torch.cat([p.flatten() for n, p in adapted.named_parameters() if p.requires_grad])
        assert abs(float(drawn.std()) - 0.01) < 5e-4
        assert abs(float(drawn.mean())) < 5e-4
    with started(base, config("normal", rank=16)) as adapted:
        again = torch.cat([p.flatten() for n, p in adapted.named_parameters() if p.requires_grad])
    assert drawn.equal(again)


@pytest.mark.parametrize("changes", [{}, {"rslora": True}, {"dora": True}, {"centred": True}])
@pytest.mark.parametrize("init", ["default", "normal", "pissa", "olora"])
def test_what_is_kept_is_a_plain_adapter_over_a_fresh_base(base, tmp_path, init, changes):
    """Trained, saved, loaded and merged by PEFT over the untouched base: the same model."""
    settings = config(init, **changes)
    if settings.dora and (init in ("pissa", "olora")):
        return
    with started(base, settings) as adapted:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        expected = logits(adapted)
        keep_adapter(adapted, tmp_path / "kept")
        torch.testing.assert_close(logits(adapted), expected)  # writing it changes nothing
    assert sorted(p.name for p in (tmp_path / "kept").iterdir() if p.suffix != ".md") == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    loaded = PeftModel.from_pretrained(copy.deepcopy(base.model), str(tmp_path / "kept"))
    torch.testing.assert_close(logits(loaded), expected, atol=1e-4, rtol=1e-4)
    with loaded.disable_adapter():
        assert logits(loaded).equal(logits(base.model))
    tensors = merged(base, tmp_path / "kept")
    whole = copy.deepcopy(base.model)
    whole.load_state_dict({**whole.state_dict(), **tensors})
    torch.testing.assert_close(logits(whole), expected, atol=1e-4, rtol=1e-4)


def test_a_failed_start_leaves_the_base(base, monkeypatch):
    before = logits(base.model)
    from peft.tuners.lora.layer import LoraLayer

    whole = LoraLayer.pissa_init
    calls = []

    def broken(self, *args):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("broken")
        whole(self, *args)

    monkeypatch.setattr(LoraLayer, "pissa_init", broken)
    with pytest.raises(RuntimeError, match="broken"), started(base, config("pissa")):
        raise AssertionError
    assert logits(base.model).equal(before)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"init": "loftq"}, "init 'loftq': expected one of normal, default, gaussian, orthogonal, pissa"),
        ({"init": "pissa_niter_N"}, "init 'pissa_niter_N'"),
        ({"init": "pissa", "dora": True}, "DoRA takes its magnitudes from one adapter"),
        ({"init": "orthogonal", "rank": 3}, "orthogonal takes an even rank, not 3"),
        ({"init": "normal", "rank": 0}, "rank 0: at least 1"),
    ],
)
def test_starts_that_cannot_be(base, changes, text):
    with pytest.raises(ValueError, match=text), started(base, config(**changes)):
        raise AssertionError
