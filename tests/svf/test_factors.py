"""The factor form against U, S, V themselves."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from harness.svf import Factors, factor, scaled

SHAPES = [(12, 7), (7, 12), (9, 9), (1, 5), (5, 1)]


def weight(shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_svd(w, z):
    """W' as the paper writes it."""
    u, s, v = torch.linalg.svd(w, full_matrices=False)
    return u @ torch.diag(s * z) @ v


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", ["eigh", "svd", "auto"])
def test_one_factor_scales_like_all_three(shape, method):
    w, z = weight(shape), torch.rand(min(shape), dtype=torch.float64) * 2
    found = factor(w, method)
    assert found.q_RR.shape == (min(shape), min(shape))
    error = (scaled(w, found, z) - by_svd(w, z)).abs().max() / w.abs().max()
    # The bound holds where fp64 weights take the exact way; the Gram matrix squares the condition.
    assert error < (1e-12 if method != "eigh" else 1e-9)
    torch.testing.assert_close(found.s_R, torch.linalg.svdvals(w), atol=1e-7, rtol=1e-7)


@given(st.integers(0, 10), st.sampled_from(SHAPES))
def test_signs_of_singular_vectors_do_not_matter(seed, shape):
    w, z = weight(shape, seed=seed), torch.linspace(0.5, 1.5, min(shape), dtype=torch.float64)
    found = factor(w, "svd")
    signs = torch.tensor([(-1.0) ** i for i in range(min(shape))], dtype=torch.float64)
    turned = type(found)(found.q_RR * signs, found.s_R, found.tall)
    torch.testing.assert_close(scaled(w, found, z), scaled(w, turned, z), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_ones_change_nothing_at_all(dtype, shape):
    w = weight(shape, dtype)
    assert scaled(w, factor(w), torch.ones(min(shape))).equal(w)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eigh_is_accurate_enough_for_weights_of_fp32_or_less(dtype):
    """Also where the weight is nearly singular: condition 1e6."""
    u, _, v = torch.linalg.svd(weight((40, 24)), full_matrices=False)
    w = (u @ torch.diag(torch.logspace(0, -6, 24, dtype=torch.float64)) @ v).to(dtype)
    z = torch.linspace(0, 2, 24, dtype=torch.float64)
    exact = by_svd(w.double(), z)
    error = (scaled(w.double(), factor(w, "auto"), z) - exact).abs().max() / exact.abs().max()
    assert error < 1e-6


def test_scaling_by_a_number_scales_the_weight():
    w = weight((7, 12))
    torch.testing.assert_close(scaled(w, factor(w), torch.full((7,), 3.0, dtype=torch.float64)), 3 * w)


@pytest.mark.parametrize("bad", [torch.ones(3), torch.full((2, 2), float("nan"))])
def test_what_has_no_singular_values_is_refused(bad):
    with pytest.raises(ValueError, match="no singular values, or is not finite"):
        factor(bad)


def test_factors_are_computed_once_and_kept(tmp_path, monkeypatch):
    import harness.svf.factors as module

    calls = []
    real = module.factor
    monkeypatch.setattr(module, "factor", lambda *a: calls.append(1) or real(*a))
    w = weight((6, 4), torch.float32)
    first = Factors(tmp_path)
    assert first.of(w).q_RR.equal(first.of(w.clone()).q_RR)
    assert Factors(tmp_path).of(w).q_RR.equal(first.of(w).q_RR)
    assert len(calls) == 1
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    first.of(w + 1)
    assert len(calls) == 2
    Factors().of(w)
    assert len(calls) == 3


def test_a_damaged_factor_file_is_named(tmp_path):
    w = weight((6, 4), torch.float32)
    Factors(tmp_path).of(w)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=path.name):
        Factors(tmp_path).of(w)
    save_file({"q": torch.ones(2, 2), "s": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=path.name):
        Factors(tmp_path).of(w)
