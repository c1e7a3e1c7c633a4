"""Measures against torch on the loaded models."""

import json
import resource
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from conftest import ARCHITECTURES, tiny

from harness.anatomy import Anatomy, Selector
from harness.stethoscope import weights
from harness.stethoscope.weights import BINS, deltas
from harness.stored import open_stored


def save(folder, model):
    model.save_pretrained(folder)
    return open_stored(folder.name, str(folder))


def pair(tmp_path, architecture="llama", change=None):
    a, b = tiny(architecture), tiny(architecture)
    with torch.no_grad():
        for p in b.parameters():
            p.copy_(change(p) if change else p + 0.3 * torch.randn_like(p) * p)
    return a, b, save(tmp_path / "a", a), save(tmp_path / "b", b)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_measure_by_hand(architecture, tmp_path):
    a, b, stored_a, stored_b = pair(tmp_path, architecture)
    rows = deltas(stored_a, stored_b, Selector(["all"]), progress=False)
    sites = {(s.name, s.part): s for s in Anatomy.of(a).sites}
    assert {(r.name, r.part) for r in rows} == {k for k in sites if k[1] != "head" or not Anatomy.of(a).tied}
    for row in rows:
        layout = sites[row.name, row.part].layout
        ours = layout.read(a.get_parameter(row.name).detach()).double().flatten()
        theirs = layout.read(b.get_parameter(row.name).detach()).double().flatten()
        assert row.elements == ours.numel()
        assert row.norm == pytest.approx(float((theirs - ours).norm()), rel=1e-6)
        assert row.base_norm == pytest.approx(float(ours.norm()), rel=1e-6)
        assert row.rms == pytest.approx(float((theirs - ours).square().mean().sqrt()), rel=1e-6)
        assert row.unchanged == pytest.approx(float((ours == theirs).double().mean()))
        assert row.undefined == pytest.approx(float((ours == 0).double().mean()))
        change = ((theirs - ours) / ours)[ours != 0].numpy()
        if len(change):
            assert row.outside == pytest.approx((np.abs(change) > 1).mean(), abs=2 / len(change))
            expected = np.histogram(change, BINS, range=(-1, 1))[0]
            # An element on the border of two bins may fall to either in fp32.
            assert np.abs(row.counts - expected).sum() <= max(2, 0.002 * len(change))


def test_pieces_make_no_difference(tmp_path, monkeypatch):
    _, _, a, b = pair(tmp_path, "gpt_neox")
    whole = deltas(a, b, Selector(["all"]), progress=False)
    monkeypatch.setattr(weights, "CHUNK", 100)
    for one, other in zip(whole, deltas(a, b, Selector(["all"]), progress=False), strict=True):
        assert one.norm == pytest.approx(other.norm, rel=1e-9)
        assert np.array_equal(one.counts, other.counts)
        assert (one.outside, one.unchanged, one.sha256) == (other.outside, other.unchanged, other.sha256)


def test_a_model_and_itself(tmp_path):
    _, _, a, b = pair(tmp_path, change=lambda p: p)
    for row in deltas(a, b, Selector(["all"]), progress=False):
        assert (row.norm, row.relative, row.outside, row.unchanged) == (0, 0, 0, 1)
        assert row.sha256[0] == row.sha256[1]
        assert row.counts.sum() == row.counts[BINS // 2] == row.elements * (1 - row.undefined)


def test_what_is_scaled_changes_by_the_factor(tmp_path):
    _, _, a, b = pair(tmp_path, change=lambda p: 1.5 * p)
    for row in deltas(a, b, Selector(["o_proj", "mlp"]), progress=False):
        assert row.relative == pytest.approx(0.5)
        assert row.counts[np.arange(BINS) == int(1.5 * BINS / 2)] == row.counts.sum() == row.elements


def test_sign_is_the_papers(tmp_path):
    """(w_B - w_A) / w_A: an element that moves away from 0 has a positive change, whatever its own sign."""
    _, _, a, b = pair(tmp_path, change=lambda p: 1.2 * p)
    (row,) = deltas(a, b, Selector(["o_proj"], "1", bias=False), progress=False)
    assert row.counts[: BINS // 2].sum() == 0


def test_layers_and_biases_are_chosen(tmp_path):
    _, _, a, b = pair(tmp_path, "qwen2")
    rows = deltas(a, b, Selector(["q_proj"], "1:3", bias=False), progress=False)
    assert [(r.part, r.layer, r.is_bias) for r in rows] == [("q_proj", 1, False), ("q_proj", 2, False)]


def test_everything_that_differs_is_named_at_once(tmp_path):
    a = save(tmp_path / "a", tiny("llama"))
    b = save(tmp_path / "b", tiny("llama", intermediate_size=40, num_hidden_layers=2))
    with pytest.raises(ValueError, match="a and b cannot be compared") as caught:
        deltas(a, b, Selector(["all"]), progress=False)
    for text in ("layers: 3 and 2", "(48, 32) and (40, 32)", "model.layers.2", "parts=... chooses"):
        assert text in str(caught.value)
    with pytest.raises(ValueError, match="a is a llama model, c a gpt2 model"):
        deltas(a, save(tmp_path / "c", tiny("gpt2")), Selector(["all"]), progress=False)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_checkpoints(tmp_path):
    """Two checkpoints of 2.1 GiB in bfloat16, of which the process holds less than a fifth at any time."""
    for name in ("a", "b"):
        config = tiny("llama").config
        config.hidden_size = config.intermediate_size = 4096
        config.num_hidden_layers, config.head_dim = 11, 1024
        config.save_pretrained(tmp_path / name)
        _hollow(tmp_path / name)
    size = (tmp_path / "a" / "model.safetensors").stat().st_size
    assert size > 2 << 30
    script = """
        import resource, sys
        from harness.anatomy import Selector
        from harness.stethoscope.weights import deltas
        from harness.stored import open_stored
        a, b = (open_stored(n, n) for n in "ab")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows = deltas(a, b, Selector(["all"]), progress=False)
        print(sum(r.elements for r in rows), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    elements, kilobytes = map(int, done.stdout.split())
    assert 2 * elements == pytest.approx(size, rel=1e-3)
    assert kilobytes * 1024 < size / 5
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < 2 << 30


def _hollow(folder):
    """A file of zeros with the tensors of a folder's config; holes take no room on the disk."""
    stored = {}
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    offset = 0
    for name, p in model.named_parameters():
        stored[name] = {"dtype": "BF16", "shape": list(p.shape), "data_offsets": [offset, offset + 2 * p.numel()]}
        offset += 2 * p.numel()
    header = json.dumps(stored).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + offset)
