"""Activation patching: one head's corrupt output in a clean run, everything behind it computed anew.

Heimersheim & Nanda 2024, "How to use and interpret activation patching": noising. The effect of a head along all of its
paths together; with path patching it shares the layers behind the head and what is not computed there.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from tqdm import tqdm

from harness.circuits.downstream import Downstream, pick_heads
from harness.circuits.edges import Effect
from harness.circuits.effects import Effects
from harness.circuits.nodes import Head


class _Heads(Downstream):
    """Heads patched over one batch of prompts."""

    def patched(self, head: Head) -> Tensor:
        """The metric with one head corrupt, ``[N]``."""
        at = slice(head.head, head.head + 1)
        z = self.batch.corrupt_z[head.layer][:, at]
        if head.place:
            mask = self.mask(head.place)[:, None, :, None].to(z.device)
            z = torch.where(mask, z, self.batch.clean.z[head.layer][:, at])
        places = self.places_of(head.layer)
        return self.from_heads(head.layer, head.head, pick_heads(z, places), places, 1)[0]


def activation_effects(effects: Effects, heads: Iterable[Head]) -> dict[Head, Effect]:
    """Effect of each head.

    Args:
        effects: model, prompts and metric; what is computed is counted in its cost.
        heads: heads, at all positions or at named ones.
    """
    out = {}
    with effects.timed():
        for head in tqdm(sorted(heads), desc="activation patching", unit="head", leave=False):
            values = [
                _Heads(effects.stack, batch, effects.score(batch), effects.cost).patched(head)
                for batch in effects.batches
            ]
            out[head] = effects.effect(effects.joined(values))
            effects.cost.passes["effect"] += 1
    return out
