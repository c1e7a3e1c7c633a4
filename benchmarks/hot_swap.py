"""A patch in and out of a resident model, against loading the exported variant from disk.

Unfair to loading: the files are in the page cache, so a real disk is slower still. Unfair to the swap:
lm-eval's command line also imports everything again, which is not counted here.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

REPEATS = 15


def seconds(action: Callable[[], object]) -> float:
    """Median time of an action."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Prints both times and their ratio for a model of 100 M parameters."""
    from harness.patch import Patch

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=32_000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
    )
    model = Qwen2ForCausalLM(config).eval()
    names = [n for n, _ in model.named_parameters() if "o_proj" in n]
    patch = Patch({n: torch.randn_like(model.get_parameter(n)) for n in names})
    tokens = torch.arange(16)[None]

    def swap() -> None:
        with patch.applied(model):
            pass

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        with patch.applied(model):
            model.save_pretrained(Path(folder))
            expected = model(tokens).logits
        assert AutoModelForCausalLM.from_pretrained(folder).eval()(tokens).logits.equal(expected), "outputs differ"
        reload = seconds(lambda: AutoModelForCausalLM.from_pretrained(folder).eval())
    swapping = seconds(swap)
    count = sum(p.numel() for p in model.parameters())
    print(f"torch {torch.__version__}, {count / 1e6:.0f} M parameters fp32, {len(names)} tensors, median of {REPEATS}")
    print(f"reload {reload * 1e3:.1f} ms, swap in and out {swapping * 1e3:.2f} ms, ratio {reload / swapping:.0f}")


if __name__ == "__main__":
    main()
