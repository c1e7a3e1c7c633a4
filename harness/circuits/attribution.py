"""Attribution patching: the effect of corrupting a head, to first order; two forwards and a backward for all heads.

Syed et al. 2023, "Attribution patching outperforms automated circuit discovery"; Hanna et al. 2024, "Have faith in
faithfulness", section 3 (integrated gradients). With g the gradient of the metric by a head's output,

    effect of h = sum_{t,d} (z_corrupt - z_clean)_htd * g_htd,

g taken on the clean run (one step), or as the mean over runs whose embeddings lie on the line from the corrupt prompt
to the clean one, at k / steps for k = 1 ... steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from harness.circuits.attention import attend
from harness.circuits.cost import Cost
from harness.circuits.downstream import Batch
from harness.circuits.edges import Effect
from harness.circuits.effects import Effects
from harness.circuits.nodes import Head
from harness.circuits.stack import Stack
from harness.circuits.trace import attention_flops, count_forward


def attribution_effects(effects: Effects, steps: int = 1) -> dict[Head, Effect]:
    """First-order effect of every head.

    Args:
        effects: model, prompts and metric; what is computed is counted in its cost.
        steps: runs whose gradients are averaged; 1 is plain attribution patching.

    Raises:
        ValueError: for no steps.
    """
    if steps < 1:
        raise ValueError(f"attribution: steps {steps}; at least 1 is needed")
    stack, cost = effects.stack, effects.cost
    begin = time.perf_counter()
    parts: list[Tensor] = []
    for batch in effects.batches:
        total = torch.zeros(len(batch.prompts), stack.n_layers, stack.n_heads, dtype=torch.float64)
        for k in range(1, steps + 1):
            gradients = _gradients(stack, batch, k / steps, effects.score(batch), cost)
            for layer, gradient in enumerate(gradients):
                change = batch.corrupt_z[layer] - batch.clean.z[layer]
                total[:, layer] += (change * gradient).sum(dim=(2, 3)).double().cpu() / steps
        parts.append(total)
    cost.passes["backward"] += steps
    cost.seconds += time.perf_counter() - begin
    out = {}
    for layer in range(stack.n_layers):
        for head in range(stack.n_heads):
            change = effects.joined([part[:, layer, head] for part in parts])
            out[Head(layer, head)] = effects.effect(effects.clean_N + change)
    return out


def _gradients(
    stack: Stack, batch: Batch, share: float, score: Callable[[Tensor], Tensor], cost: Cost
) -> tuple[Tensor, ...]:
    """Gradient of the metric by every head's output, ``[L][B, H, T, D]``.

    Args:
        stack: the model.
        batch: the prompts.
        share: of the clean embeddings; the rest is corrupt.
        score: the metric.
        cost: where a forward and the way back are counted.
    """
    embed = stack.model.get_input_embeddings()
    prompts = batch.prompts
    with torch.no_grad():
        clean, corrupt = (embed(ids.to(stack.device)) for ids in (prompts.clean_NT, prompts.corrupt_NT))
        mixed = corrupt + share * (clean - corrupt)
    positions = torch.arange(prompts.clean_NT.shape[1])[None]
    outputs: list[Tensor] = []

    def run(layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float, window: int | None) -> Tensor:
        outputs.append(attend(q, k, v, positions.to(q.device), scaling, window))
        return outputs[layer]

    with stack.differentiable():
        streams, _ = stack.forward(mixed.requires_grad_(), run)
        ends = prompts.ends_N.to(streams[-1].device)
        logits = stack.logits(streams[-1][torch.arange(len(prompts), device=ends.device), ends])
        # Prompts do not meet, so the gradient of the sum holds each prompt's own.
        gradients = torch.autograd.grad(score(logits).sum(), outputs)
    count_forward(cost, "backward", stack, *prompts.clean_NT.shape)
    _count_backward(cost, stack, *prompts.clean_NT.shape)
    return gradients


def _count_backward(cost: Cost, stack: Stack, rows: int, length: int) -> None:
    """Counts the way back to the first layer's heads; no weight gets a gradient, so a product costs what it did before.

    Attention costs twice: its scores are weighed again by what comes back, for queries, keys and values.
    """
    for layer, size in enumerate(stack.sizes):
        cost.add("backward", layer, 2 * rows * length * (size.out + size.mlp + (size.qkv if layer else 0)))
        if layer:
            cost.add("backward", layer, 2 * attention_flops(stack, rows, length, length, stack.n_heads))
    cost.add("backward", stack.n_layers, 2 * rows * stack.head_weights)
