"""What masked training costs: memory of the optimiser, and time of importance.

AdamW over active elements alone against torch's AdamW over whole parameters with masked gradients (the released code's
way, which also lets weight decay move what is masked), at the shapes of a LoRA of rank 8 on Llama-2-7B's q, k, v, gate,
up and down, with 40.56% of the elements active as in the paper's table 3. Importance: gradients of single examples side
by side against one backward pass for each example, on the lab's model. Unfair to us: gathering and scattering are plain
masked copies; and a model this small gains little from a batch on one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from harness.config.compose import compose_model
from harness.config.par import LoraParVariant
from harness.lab.datasets import rows
from harness.lora_par.importance import Example, example_gradients
from harness.models import ModelRef, load_base
from harness.training.masked import MaskedAdamW
from harness.variants.answering import trained_parameters
from harness.variants.start import started

SHARE = 0.4056
HIDDEN, INNER = 4096, 11008
SETTINGS = {"lr": 1e-4, "weight_decay": 0.1}


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median time of an action, after one that is not counted."""
    action()
    times = []
    for _ in range(repeats):
        started_at = time.perf_counter()
        action()
        times.append(time.perf_counter() - started_at)
    return statistics.median(times)


def adapter(rank: int, layers: int) -> dict[str, nn.Parameter]:
    """Parameters in the shapes of a LoRA on some layers of Llama-2-7B."""
    shapes = [(HIDDEN, HIDDEN)] * 3 + [(HIDDEN, INNER)] * 2 + [(INNER, HIDDEN)]
    out = {}
    for layer in range(layers):
        for i, (into, outof) in enumerate(shapes):
            out[f"{layer}.{i}.A"] = nn.Parameter(torch.randn(rank, into) * 0.01)
            out[f"{layer}.{i}.B"] = nn.Parameter(torch.randn(outof, rank) * 0.01)
    return out


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes that an optimiser holds beside the parameters."""
    return sum(t.numel() * t.element_size() for s in optimizer.state.values() for t in s.values())


def optimisers(rank: int, layers: int, repeats: int) -> dict[str, float]:
    """Memory and time of a step, both ways."""
    torch.manual_seed(0)
    own = adapter(rank, layers)
    masks = {name: torch.rand(p.shape) < SHARE for name, p in own.items()}
    for p in own.values():
        p.grad = torch.randn_like(p)
    masked = MaskedAdamW(own, masks, **SETTINGS)
    whole = torch.optim.AdamW(own.values(), **SETTINGS)

    def hooks() -> None:
        for name, p in own.items():
            assert p.grad is not None
            p.grad.masked_fill_(~masks[name], 0.0)
        whole.step()

    out = {"elements": float(sum(p.numel() for p in own.values())), "masked step": seconds(masked.step, repeats)}
    out["whole step"] = seconds(hooks, repeats)
    out["masked state bytes"], out["whole state bytes"] = float(masked.state_bytes()), float(state_bytes(whole))
    return out


def gradients(batch: int, repeats: int) -> dict[str, float]:
    """Time of the gradients of single examples, side by side and one by one."""
    base = load_base(ModelRef("lab-base", compose_model("lab-base")[1].path, dtype="float32", device="cpu"))
    some = []
    for row in rows("gsm8k_worked", "train")[:batch]:
        prompt = base.tokenizer(row["prompt"])["input_ids"]
        some.append(Example(tuple(base.tokenizer(row["prompt"] + row["completion"])["input_ids"]), len(prompt)))
    with started(base, LoraParVariant()):
        own = trained_parameters(base.model)

        def one_by_one() -> None:
            for example in some:
                ids = torch.tensor([example.tokens])
                labels = ids.clone()
                labels[0, : example.learned_from] = -100
                torch.autograd.grad(base.model(input_ids=ids, labels=labels).loss, list(own.values()))

        return {
            "gradients together": seconds(lambda: example_gradients(base.model, own, some), repeats),
            "gradients one by one": seconds(one_by_one, repeats),
        }


def main() -> None:
    """Prints the figures and the ratios that matter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8, help="examples side by side")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="writes the figures here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    f = {**optimisers(args.rank, args.layers, args.repeats), **gradients(args.batch, args.repeats)}
    print(f"torch {torch.__version__}, {args.threads} threads, fp32, {f['elements'] / 1e6:.2f} M elements, ", end="")
    print(f"{SHARE:.2%} active, median of {args.repeats}")
    for name, value in f.items():
        print(f"{name:26} {value:.4g}")
    print(f"held, masked / whole       {f['masked state bytes'] / f['whole state bytes']:.3f}")
    print(f"step, masked / whole       {f['masked step'] / f['whole step']:.2f}")
    print(f"gradients, one by one / together {f['gradients one by one'] / f['gradients together']:.2f}")
    if args.json:
        args.json.write_text(json.dumps(f, indent=1) + "\n")


if __name__ == "__main__":
    main()
