"""A circuit at work: every head outside it puts out a constant, the rest is computed as ever.

What stands in a head's place is named: nothing (``zero``), its mean over the corrupt prompts of a separate set, at each
position of each template (``template``, Wang et al. 2023, section 2) or over all positions (``global``, the only one
that fits into weights), or its output on the prompt's own corrupt twin (``resample``). MLPs, norms and embeddings are
left as they are.

Axes: C circuits, N prompts, others as in `harness.circuits.stack`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.circuits.attention import attend
from harness.circuits.cost import Cost
from harness.circuits.metrics import measure
from harness.circuits.nodes import Head
from harness.circuits.prompts import Prompts, chunks
from harness.circuits.stack import Stack
from harness.circuits.trace import attention_flops, trace

ABLATIONS = ("template", "global", "zero", "resample")
Circuit = Collection[Head]


@dataclass(frozen=True)
class Means:
    """Mean outputs of heads.

    Attributes:
        whole: over all positions of all prompts, ``[L, H, D]``.
        templates: (template, length) -> mean at each position, ``[L, H, T, D]``; empty where none were asked for.
        n: prompts they were taken over.
    """

    whole: Tensor
    templates: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    n: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 of the values."""
        out = hashlib.sha256(self.whole.contiguous().numpy().tobytes())
        for key, value in sorted(self.templates.items()):
            out.update(f"{key}".encode() + value.contiguous().numpy().tobytes())
        return out.hexdigest()


def corrupt_means(
    stack: Stack, prompts: Prompts, by_template: bool = True, batch_tokens: int = 16384, cost: Cost | None = None
) -> Means:
    """Means over the corrupt prompts of a set."""
    whole = torch.zeros(stack.n_layers, stack.n_heads, stack.head_size, dtype=torch.float64)
    sums: dict[tuple[str, int], Tensor] = {}
    counts: dict[tuple[str, int], int] = {}
    tokens = 0
    with stack.running():
        for part in chunks(prompts, batch_tokens):
            some = prompts.take(part)
            run = trace(stack, some.corrupt_NT.to(stack.device), some.ends_N, cost)
            keys = list(zip(some.templates, (some.ends_N + 1).tolist(), strict=True))
            tokens += sum(length for _, length in keys)
            for key in keys if by_template else ():
                counts[key] = counts.get(key, 0) + 1
                if key not in sums:
                    sums[key] = torch.zeros(*whole.shape[:2], key[1], whole.shape[2], dtype=torch.float64)
            for layer, z in enumerate(run.z):
                z_NHTD = z.cpu().double()
                for i, key in enumerate(keys):
                    values = z_NHTD[i, :, : key[1]]
                    whole[layer] += values.sum(dim=1)
                    if by_template:
                        sums[key][layer] += values
    if cost is not None:
        cost.passes["trace"] += 1
    dtype = torch.promote_types(stack.project_LHDE[0].dtype, torch.float32)
    templates = {key: (total / counts[key]).to(dtype) for key, total in sums.items()}
    return Means((whole / tokens).to(dtype), templates, len(prompts))


class Ablated:
    """Circuits of one model at work on one set of prompts.

    Args:
        stack: the model.
        prompts: the prompts; their clean side is run.
        ablation: what stands in a head's place, one of `ABLATIONS`.
        means: mean outputs, for ``template`` and ``global``.
        batch_tokens: tokens (rows times positions) that are computed at a time.

    Attributes:
        cost: what was computed.
        reference_NV: logits of the whole model.
        without_means: prompts of whose template and length no prompt was among those of the means: they get the mean
            over all positions.

    Raises:
        ValueError: for an unknown ablation, or means that are missing.
    """

    def __init__(
        self, stack: Stack, prompts: Prompts, ablation: str, means: Means | None, batch_tokens: int = 16384
    ) -> None:
        if ablation not in ABLATIONS:
            raise ValueError(f"unknown ablation {ablation!r}; known: {', '.join(ABLATIONS)}")
        if ablation in ("template", "global") and means is None:
            raise ValueError(f"ablation {ablation} needs means")
        self.stack, self.prompts, self.ablation, self._means = stack, prompts, ablation, means
        self.cost = Cost()
        self._tokens = batch_tokens
        self._known: dict[tuple[frozenset[Head], str], Tensor] = {}
        self._parts = [(part, prompts.take(part)) for part in chunks(prompts, batch_tokens)]
        known = means.templates if means is not None and ablation == "template" else {}
        keys = zip(prompts.templates, (prompts.ends_N + 1).tolist(), strict=True)
        self.without_means = sum(key not in known for key in keys) if ablation == "template" else 0
        with stack.running():
            logits = [  # of each trace the logits alone are kept
                trace(stack, some.clean_NT.to(stack.device), some.ends_N, self.cost).logits_BV.cpu()
                for _, some in self._parts
            ]
            self._replacements = [self._replacement(some) for _, some in self._parts]
        self.cost.passes["trace"] += 1
        self.reference_NV = torch.empty(len(prompts), logits[0].shape[1], dtype=logits[0].dtype)
        for (part, _), some_NV in zip(self._parts, logits, strict=True):
            self.reference_NV[part] = some_NV

    def values(self, circuits: Sequence[Circuit], metrics: Sequence[str]) -> dict[str, Tensor]:
        """Metrics of circuits, prompt by prompt, ``[C, N]`` each, in double precision; none is computed twice.

        Args:
            circuits: heads that stay, of each; a head with a place stays there alone.
            metrics: names of `harness.circuits.metrics.METRICS`; ``kl`` is from the whole model.
        """
        wanted = [frozenset(circuit) for circuit in circuits]
        missing = [c for c in dict.fromkeys(wanted) if not all((c, m) in self._known for m in metrics)]
        new = {m: torch.empty(len(missing), len(self.prompts), dtype=torch.float64) for m in metrics}
        with self.stack.running():
            for (part, some), replacement in zip(self._parts, self._replacements, strict=True):
                step = max(1, self._tokens // some.clean_NT.numel())
                for first in range(0, len(missing), step):
                    logits = self._run(some, missing[first : first + step], replacement)
                    reference = self.reference_NV[part].to(logits.device)
                    for metric in metrics:
                        values = measure(metric, logits, some, reference)
                        new[metric][first : first + step, part] = values.double().cpu()
        self.cost.passes["ablated"] += len(missing)
        for metric, values in new.items():
            self._known.update({((circuit, metric)): value for circuit, value in zip(missing, values, strict=True)})
        return {m: torch.stack([self._known[c, m] for c in wanted]) for m in metrics}

    def full(self, metric: str) -> Tensor:
        """A metric of the whole model, ``[N]``."""
        return measure(metric, self.reference_NV, self.prompts, self.reference_NV).double()

    def _run(self, some: Prompts, circuits: Sequence[Circuit], replacement: Sequence[Tensor | None]) -> Tensor:
        """Logits ``[C, N, V]`` at the prompts' ends."""
        stack, (n, length) = self.stack, some.clean_NT.shape
        keep = [self._keep(some, circuits, layer) for layer in range(stack.n_layers)]
        ids = some.clean_NT.repeat(len(circuits), 1).to(stack.device)
        positions = torch.arange(length)[None]

        def run(layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float, window: int | None) -> Tensor:
            z = attend(q, k, v, positions.to(q.device), scaling, window)
            mask = keep[layer].to(z.device)  # [C, N or 1, H, T or 1, 1]
            if bool(mask.all()):
                return z
            z = z.view(len(circuits), n, *z.shape[1:])
            instead = replacement[layer]
            z = torch.where(mask, z, z.new_zeros(()) if instead is None else instead.to(z))
            return z.flatten(0, 1)

        streams, _ = stack.forward(ids, run)
        for layer, size in enumerate(stack.sizes):
            self.cost.add("ablated", layer, 2 * ids.numel() * (size.qkv + size.out + size.mlp))
            self.cost.add("ablated", layer, attention_flops(stack, len(ids), length, length, stack.n_heads))
        self.cost.add("ablated", stack.n_layers, 2 * len(ids) * stack.head_weights)
        ends = some.ends_N.repeat(len(circuits)).to(streams[-1].device)
        logits = stack.logits(streams[-1][torch.arange(len(ids), device=ends.device), ends])
        return logits.view(len(circuits), n, -1)

    def _keep(self, some: Prompts, circuits: Sequence[Circuit], layer: int) -> Tensor:
        """Where heads of a layer stay, ``[C, 1, H, 1, 1]``, or ``[C, N, H, T, 1]`` if some stay at places."""
        heads = [[h for h in circuit if h.layer == layer] for circuit in circuits]
        out = torch.zeros(len(circuits), 1, self.stack.n_heads, 1, 1, dtype=torch.bool)
        if any(h.place for found in heads for h in found):
            out = out.repeat(1, len(some), 1, some.clean_NT.shape[1], 1)
        at = torch.arange(some.clean_NT.shape[1])
        for i, found in enumerate(heads):
            for head in found:
                out[i, :, head.head, :, 0] |= at == some.place(head.place)[:, None] if head.place else True
        return out

    def _replacement(self, some: Prompts) -> list[Tensor | None]:
        """What stands in the heads' places in each layer, to broadcast to ``[C, N, H, T, D]``; None for nothing."""
        stack = self.stack
        if self.ablation == "zero":
            return [None] * stack.n_layers
        if self.ablation == "resample":
            return list(trace(stack, some.corrupt_NT.to(stack.device), some.ends_N, self.cost).z)
        assert self._means is not None
        whole = [layer[None, :, None] for layer in self._means.whole]
        if self.ablation == "global":
            return list(whole)
        length = some.clean_NT.shape[1]
        out = [layer.repeat(len(some), 1, length, 1) for layer in whole]
        for i, (template, end) in enumerate(zip(some.templates, some.ends_N.tolist(), strict=True)):
            found = self._means.templates.get((template, end + 1))
            for layer in range(stack.n_layers) if found is not None else ():
                out[layer][i, :, : end + 1] = found[layer]  # type: ignore[index] # not None here
        return list(out)
