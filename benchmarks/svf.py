"""Singular values scaled by one factor, against U, S and V and against writing W' out for each z.

One weight at the shapes of Llama-3-8B's MLP by default. The peers compute what the paper's released code computes (the
three factors by SVD in fp32; W' written out for each z), without its copies between devices. Unfair to them: plain
PyTorch on the same threads, no fused kernels for anybody. Unfair to us: our factor is computed in fp64.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.svf import Factors, SvfConfig, SvfLayer, factor

WRITTEN = "write W' out"


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median time of an action, after one that is not counted."""
    action()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def once(action: Callable[[], object]) -> float:
    """Time of an action that is too long to be repeated."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def size(*tensors: Tensor) -> int:
    """Bytes of tensors."""
    return sum(t.numel() * t.element_size() for t in tensors)


def measure(out: int, width: int, rows: int, tokens: int, repeats: int) -> dict[str, float]:
    """All figures of one weight."""
    torch.manual_seed(0)
    linear = nn.Linear(width, out, bias=False)
    weight = linear.weight.detach()
    x_BTD = torch.randn(rows, tokens, width)
    z = 1 + 0.1 * torch.randn(min(out, width))
    figures: dict[str, float] = {"eigh seconds": once(lambda: factor(weight, "eigh"))}
    u = s = v = torch.zeros(())

    def decompose() -> None:
        nonlocal u, s, v
        u, s, v = torch.linalg.svd(weight, full_matrices=False)

    figures["svd seconds"] = once(decompose)
    layer = SvfLayer(linear, "a", SvfConfig(target_modules=["x"]), Factors()).requires_grad_(False)
    layer.svf_z["a"].data = z
    figures["factor bytes"], figures["usv bytes"] = size(layer.svf_q, layer.svf_s), size(u, s, v)
    with torch.no_grad():
        expected = F.linear(x_BTD, u @ torch.diag(s * z) @ v)
        error = float((layer(x_BTD) - expected).abs().max() / expected.abs().max())
        assert error < 1e-3, f"outputs differ by {error}"
        figures["error"] = error
        figures["base forward"] = seconds(lambda: linear(x_BTD), repeats)
        figures["factor forward"] = seconds(lambda: layer(x_BTD), repeats)
        figures["usv forward"] = seconds(lambda: F.linear(F.linear(x_BTD, v) * (s * z), u), repeats)
        layer.rows_BR = 1 + 0.1 * torch.randn(rows, len(z))
        figures["factor forward, z by row"] = seconds(lambda: layer(x_BTD), repeats)
        layer.rows_BR = None
        figures[WRITTEN] = seconds(lambda: (u * (s * z)) @ v, max(1, repeats // 5))
    return figures


def main() -> None:
    """Prints the figures and the ratios that matter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=int, default=14336, help="output features")
    parser.add_argument("--width", type=int, default=4096, help="input features")
    parser.add_argument("--rows", type=int, default=8, help="requests in a batch")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path, help="writes the figures here")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    f = measure(args.out, args.width, args.rows, args.tokens, args.repeats)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, fp32, W {args.out} x {args.width}, ", end="")
    print(f"{args.rows} rows of {args.tokens} tokens, median of {args.repeats}")
    for name, value in f.items():
        print(f"{name:28} {value:.4g}")
    print(f"memory, factor / U S V       {f['factor bytes'] / f['usv bytes']:.3f} (aim 0.333)")
    print(f"z by row / one z             {f['factor forward, z by row'] / f['factor forward']:.3f} (aim 1.1)")
    print(f"svd / eigh                   {f['svd seconds'] / f['eigh seconds']:.2f}")
    print(f"factor / base forward        {f['factor forward'] / f['base forward']:.2f}")
    print(f"U S V / base forward         {f['usv forward'] / f['base forward']:.2f}")
    tokens = args.rows * args.tokens
    extra = (f["factor forward"] - f["base forward"]) / tokens
    print(f"W' pays off from             {f[WRITTEN] / extra:,.0f} tokens under one z")
    if args.json:
        args.json.write_text(json.dumps({"shape": [args.out, args.width], **f}, indent=1) + "\n")


if __name__ == "__main__":
    main()
