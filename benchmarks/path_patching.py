"""Path patching against the loop that is published, on the same models, prompts and thresholds.

The loop, written from the description of Accelerated Path Patching's released code: for each receiver, for its query,
key and value, for each sender of an earlier layer a whole forward with every head's output held but the sender's, then
a whole forward with the receiver patched; all positions, all layers, logits everywhere, all prompts in one batch. It
uses hooks on the same modules. One thing favours it: a key-value head is visited once, as here, not once for each query
head of its group. Both searches are given the same thresholds and have to find the same circuit; the largest difference
of any score is printed.

`random-gpt2` has random weights, which do no task: there a fixed list of receivers is scored, not searched.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerBase

from harness.anatomy import Anatomy
from harness.circuits.cost import Cost
from harness.circuits.edges import Edges, Effect
from harness.circuits.effects import Effects
from harness.circuits.methods import Methods
from harness.circuits.metrics import measure
from harness.circuits.nodes import Head, Receiver
from harness.circuits.prompts import Prompts
from harness.circuits.search import Search, Threshold
from harness.circuits.stack import Stack
from harness.circuits.tasks import METRICS, TASKS, draw_sets
from harness.circuits.trace import attention_flops
from harness.config.circuits import CircuitConfig
from harness.lab.planted import planted
from harness.loading import load


class Loop:
    """The published loop, with the face of `harness.circuits.effects.Effects`."""

    def __init__(self, stack: Stack, prompts: Prompts, metric: str) -> None:
        self.stack, self.prompts, self.metric, self.cost = stack, prompts, metric, Cost()
        self._anatomy = Anatomy.of(stack.model)
        table = self._anatomy.architecture
        layers = [stack.model.get_submodule(self._anatomy.layer_name(i)) for i in range(stack.n_layers)]
        self._outputs = [layer.get_submodule(table.parts["o_proj"][0]) for layer in layers]
        self._inputs = [{k: layer.get_submodule(table.parts[f"{k}_proj"][0]) for k in "qkv"} for layer in layers]  # type: ignore[index]
        self._fused = table.parts["q_proj"][0] == table.parts["k_proj"][0]
        begin = time.perf_counter()
        clean, self._clean_z = self._record(prompts.clean_NT)
        corrupt, self._corrupt_z = self._record(prompts.corrupt_NT)
        self._clean = measure(metric, clean, prompts).double()
        self.gap = float(self._clean.mean() - measure(metric, corrupt, prompts).double().mean())
        self.cost.seconds += time.perf_counter() - begin

    def of(self, senders: Iterable[Head], receivers: Sequence[Receiver], what: str = "") -> Edges:
        """Every pair by itself."""
        begin = time.perf_counter()
        out = {}
        for receiver in receivers:
            for sender in (s for s in senders if s.layer < receiver.layer):
                logits, seen = self._frozen(sender, receiver)
                if receiver.kind != "logits":
                    logits = self._patched(receiver, seen)
                change = (measure(self.metric, logits, self.prompts).double() - self._clean) / abs(self.gap)
                out[receiver, sender] = Effect(float(change.mean()), float(change.std() / len(change) ** 0.5))
        self.cost.seconds += time.perf_counter() - begin
        return out

    def _forward(self, ids: Tensor) -> Tensor:
        stack, (n, length) = self.stack, ids.shape
        with torch.inference_mode():
            logits = stack.model(ids, use_cache=False).logits
        for layer, size in enumerate(stack.sizes):
            self.cost.add("loop", layer, 2 * n * length * (size.qkv + size.out + size.mlp))
            self.cost.add("loop", layer, attention_flops(stack, n, length, length, stack.n_heads))
        self.cost.add("loop", stack.n_layers, 2 * n * length * stack.head_weights)
        self.cost.passes["loop"] += 1
        return logits[torch.arange(n), self.prompts.ends_N]

    def _record(self, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        z: list[Tensor] = []
        with ExitStack() as hooks:
            for module in self._outputs:
                hooks.callback(module.register_forward_pre_hook(lambda _m, args: z.append(args[0])).remove)
            return self._forward(ids), z

    def _frozen(self, sender: Head, receiver: Receiver) -> tuple[Tensor, Tensor]:
        size = self.stack.head_size
        at = slice(sender.head * size, (sender.head + 1) * size)
        seen: list[Tensor] = []
        with ExitStack() as hooks:
            for layer, module in enumerate(self._outputs):
                value = self._clean_z[layer]
                if layer == sender.layer:
                    value = value.clone()
                    value[..., at] = self._corrupt_z[layer][..., at]
                hooks.callback(module.register_forward_pre_hook(lambda _m, args, v=value: (v, *args[1:])).remove)
            if receiver.kind != "logits":
                module = self._inputs[receiver.layer][receiver.kind]
                hooks.callback(
                    module.register_forward_hook(lambda _m, _a, out: seen.append(out[..., self._span(receiver)])).remove
                )
            logits = self._forward(self.prompts.clean_NT)
        return logits, seen[0] if seen else logits

    def _patched(self, receiver: Receiver, value: Tensor) -> Tensor:
        def write(_module: nn.Module, _args: Any, out: Tensor) -> Tensor:
            out = out.clone()
            out[..., self._span(receiver)] = value
            return out

        handle = self._inputs[receiver.layer][receiver.kind].register_forward_hook(write)
        try:
            return self._forward(self.prompts.clean_NT)
        finally:
            handle.remove()

    def _span(self, receiver: Receiver) -> slice:
        """Columns of a head's input in what its projection puts out."""
        size, offset = self.stack.head_size, 0
        if self._fused:  # GPT-2: q, k, v side by side
            offset = "qkv".index(receiver.kind) * self.stack.n_heads * size
        return slice(offset + receiver.head * size, offset + (receiver.head + 1) * size)


def compare(stack: Stack, prompts: Prompts, metric: str, rule: Threshold, tokens: int) -> dict[str, Any]:
    """Both searches."""
    ours, theirs = Effects(stack, prompts, metric, tokens), Loop(stack, prompts, metric)
    found = Search(ours, rule).run()
    other = Search(theirs, rule).run()  # type: ignore[arg-type] # the same face
    worst = max(abs(e.mean - found.scored[k].mean) for k, e in other.scored.items())
    return {
        "heads": len(found.heads),
        "same": found.heads == other.heads,
        "worst": worst,
        **costs(ours.cost, theirs.cost),
    }


def costs(ours: Cost, theirs: Cost) -> dict[str, float]:
    """Passes, operations and time of both."""
    return {
        "passes": ours.total_passes, "loop passes": theirs.total_passes, "GFLOPs": ours.total_flops / 1e9,
        "loop GFLOPs": theirs.total_flops / 1e9, "seconds": ours.seconds, "loop seconds": theirs.seconds,
    }  # fmt: skip


def scored(stack: Stack, prompts: Prompts, receivers: Sequence[Receiver], tokens: int) -> dict[str, Any]:
    """A fixed list of receivers on random weights, where the metric is no task's: prompts are turned if need be."""
    senders = [Head(i, h) for i in range(stack.n_layers) for h in range(stack.n_heads)]
    try:
        ours = Effects(stack, prompts, "logit_diff", tokens)
    except ValueError:
        prompts = prompts.swapped()
        ours = Effects(stack, prompts, "logit_diff", tokens)
    theirs = Loop(stack, prompts, "logit_diff")
    found, other = ours.of(senders, receivers), theirs.of(senders, receivers)
    worst = max(abs(e.mean - found[k].mean) for k, e in other.items())
    return {
        "heads": len(receivers),
        "same": found.keys() == other.keys(),
        "worst": worst,
        **costs(ours.cost, theirs.cost),
    }


def random_gpt2(layers: int, heads: int, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Random weights at a size where products, not calls, take the time."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=64 * heads, n_layer=layers, n_head=heads, n_positions=64)
    return GPT2LMHeadModel(config).eval()


def app(stack: Stack, base: Any, rule: dict[str, Any], prompts: int) -> dict[str, Any]:
    """APP beside path patching, both ours: task -> FLOPs and time of APP over those of path patching."""
    out = {}
    for task in TASKS:
        config = CircuitConfig()
        for key, value in rule.items():
            setattr(config.threshold, key, value)
        sets = draw_sets(task, base.tokenizer, "lab", find=prompts, verify=2, means=200)
        methods = Methods(stack, sets, config, base.fingerprint)
        whole, fast = methods.run("path_patching"), methods.run("app")
        alone = Cost.of_record(fast.details["path_patching_cost"])
        out[task] = {
            "FLOPs": fast.cost.total_flops / whole.cost.total_flops,
            "FLOPs, search alone": alone.total_flops / whole.cost.total_flops,
            "time": fast.cost.seconds / whole.cost.seconds,
            "time, search alone": alone.seconds / whole.cost.seconds,
        }
    return out


def main() -> None:
    """Prints the figures and the ratios that matter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--least", type=float, default=0.02)
    parser.add_argument("--layers", type=int, default=12, help="of random-gpt2; 0 leaves it out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="writes the figures here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rule = Threshold("absolute", least=args.least)
    base = load("lab-base", "cpu")
    stack = Stack(base.model)
    rows: dict[str, dict[str, Any]] = {}
    print(f"torch {torch.__version__}, {args.threads} threads, fp32, {args.prompts} prompts")
    for task in TASKS:
        prompts = draw_sets(task, base.tokenizer, "lab", find=args.prompts, verify=2, means=2).find
        rows[f"lab-base, {task}"] = compare(stack, prompts, METRICS[task], rule, args.batch_tokens)
        show(f"lab-base, {task}", rows[f"lab-base, {task}"])
    model, tokenizer = planted()
    sets = draw_sets("induction", tokenizer, "lab", find=args.prompts, verify=2, means=2, max_length=64)
    rows["planted, induction"] = compare(Stack(model), sets.find, "logit_diff", rule, args.batch_tokens)
    show("planted, induction", rows["planted, induction"])
    if args.layers:
        big = Stack(random_gpt2(args.layers, 4, tokenizer))
        middle = args.layers * 2 // 3
        receivers = [Receiver("logits", args.layers), *(Receiver(k, middle, 1) for k in ("q", "k", "v"))]
        prompts = draw_sets("ioi", tokenizer, "lab", find=args.prompts, verify=2, means=2).find
        name = f"random-gpt2 ({args.layers} x 4), {len(receivers)} receivers"
        rows[name] = scored(big, prompts, receivers, args.batch_tokens)
        show(name, rows[name])
    shares = app(stack, base, {"rule": "absolute", "least": args.least}, args.prompts)
    for task, ratios in shares.items():
        print(f"APP / path patching, {task}: " + ", ".join(f"{k} {v:.2f}" for k, v in ratios.items()))
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "app": shares}, indent=1) + "\n")


def show(name: str, row: dict[str, Any]) -> None:
    """One comparison in a line."""
    ratios = ", ".join(
        f"{key} {row[f'loop {key}']:.4g} -> {row[key]:.4g} ({row[f'loop {key}'] / row[key]:.1f} x)"
        for key in ("passes", "GFLOPs", "seconds")
    )
    print(f"{name}: {ratios}; same {row['same']}, largest difference {row['worst']:.1e}", flush=True)


if __name__ == "__main__":
    main()
