"""Path patching: the effect of one head's corrupt output on the answer, along the direct paths to one receiver.

Wang et al. 2023, "Interpretability in the wild", algorithm 1. A sender h and a receiver R: (A) run the corrupt prompts,
(B) run the clean ones, (C) run the clean ones with every head's output held at its clean value but h's, which is the
corrupt one, MLPs and norms computed anew, and read what R would receive, (D) run the clean ones with R receiving that.

The same numbers with less work than four forwards a pair:

- In C no attention has to be computed, as every head's output is given: positions do not mix, and a pass is the norms
  and MLPs from the sender's layer on. Its stream serves all receivers that lie behind it.
- D starts at the receiver's layer, from the clean stream, where only the receiver's own head moves.
- Nothing moves before the first position at which a clean prompt and its corrupt twin differ.
- In the last layer only the position that is read has queries, an MLP and logits. To the logits themselves there are
  only C's norms and MLPs at that position.
- Senders are stacked along the batch.

`tests/circuits/test_path_patching.py` holds the plain four forwards, written with hooks on the whole model.

Axes as in `harness.circuits.downstream`; R are senders.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.circuits.downstream import Downstream, pick, pick_heads
from harness.circuits.nodes import Head, Receiver
from harness.circuits.stack import Places
from harness.circuits.trace import attention_flops

Values = dict[tuple[Receiver, Head], Tensor]  # a value for each prompt, [N]


class Paths(Downstream):
    """Passes C and D over one batch of prompts."""

    def effects(self, senders: Sequence[Head], receivers: Sequence[Receiver]) -> Values:
        """Values of the patched runs, for each sender that lies before a receiver.

        Args:
            senders: heads; all of them are stacked in one batch.
            receivers: what they may reach.
        """
        stack, clean = self.stack, self.batch.clean
        by_layer: dict[int, list[Receiver]] = {}
        for receiver in receivers:
            by_layer.setdefault(receiver.layer, []).append(receiver)
        to_logits = by_layer.pop(stack.n_layers, [])
        last = stack.n_layers if to_logits else max(by_layer, default=0)
        inputs = [receiver for found in by_layer.values() for receiver in found]
        self.start = max(self.batch.start, min((self._first(r) for r in inputs), default=0))
        # The logits are read at one position: if nothing else receives, no other one is computed.
        places: Places = slice(self.start, self.length) if inputs else self.batch.prompts.ends_N
        queue = sorted(senders)
        rows: list[Head] = []
        x = clean.streams[0].new_empty(0)
        out: Values = {}
        for layer in range(queue[0].layer if queue else last, last):
            if rows and layer in by_layer:
                out.update(self._receive(layer, by_layer[layer], rows, x))
            if inputs and isinstance(places, slice) and layer >= max(by_layer):
                # Behind the last input that receives, the logits alone are left: their position is.
                x, places = (self.ends(x)[:, None] if rows else x), self.batch.prompts.ends_N
            joining = [h for h in queue if h.layer == layer]
            given = [self.rows(clean.out[layer], places, len(rows))] if rows else []
            streams = [x.to(clean.out[layer].device)] if rows else []
            if joining:
                given.append(self._sent(layer, joining, places))
                streams.append(self.rows(clean.streams[layer], places, len(joining)))
            rows += joining
            if rows:
                x = stack.replay(layer, torch.cat(streams), torch.cat(given), clean.calls[layer])
                self.cost.add("frozen", layer, 2 * x.shape[0] * x.shape[1] * stack.sizes[layer].mlp)
        self.cost.passes["frozen"] += len(rows)
        if to_logits:
            values = self.read(self.ends(x) if isinstance(places, slice) else x[:, 0], len(rows), "frozen")
            out.update({(to_logits[0], head): values[i] for i, head in enumerate(rows)})
        elif rows and last in by_layer:
            out.update(self._receive(last, by_layer[last], rows, x))
        return out

    def _first(self, receiver: Receiver) -> int:
        """First position at which what a head receives may be patched."""
        return int(self.batch.prompts.place(receiver.place).min()) if receiver.place else 0

    def _sent(self, layer: int, heads: Sequence[Head], places: Places) -> Tensor:
        """The attention's output with one head each corrupt, ``[R N, S, E]``."""
        clean, corrupt = self.batch.clean.z[layer], self.batch.corrupt_z[layer]
        weights = self.stack.project_LHDE[layer]
        out = self.rows(self.batch.clean.out[layer], places, len(heads))
        moved = []
        for head in heads:
            difference = corrupt[:, head.head] - clean[:, head.head]
            if head.place:
                difference = difference * self.mask(head.place)[:, :, None].to(difference)
            moved.append(pick(difference, places) @ weights[head.head])
        self.cost.add("frozen", layer, 2 * out.shape[0] * out.shape[1] * self.stack.head_size * out.shape[2])
        return out + torch.cat(moved)

    def _receive(self, layer: int, receivers: Sequence[Receiver], rows: Sequence[Head], x: Tensor) -> Values:
        """Pass D for every receiver of a layer; ``x`` is pass C's stream before that layer."""
        stack, places = self.stack, slice(self.start, self.length)
        x = x.to(self.batch.clean.out[layer].device)
        q, k, v = stack.qkv(layer, x, places, self.batch.clean.calls[layer])
        self.cost.add("frozen", layer, 2 * x.shape[0] * x.shape[1] * stack.sizes[layer].qkv)
        out: Values = {}
        for receiver in receivers:
            received = {"q": q, "k": k, "v": v}[receiver.kind][:, receiver.head]
            values = self._effect(receiver, received, len(rows))
            out.update({(receiver, head): values[i] for i, head in enumerate(rows)})
        self.cost.passes["effect"] += len(rows) * len(receivers)
        return out

    def _effect(self, receiver: Receiver, received_BSD: Tensor, count: int) -> Tensor:
        """The metric when a receiver receives what pass C would give it, ``[R, N]``."""
        stack, clean, layer = self.stack, self.batch.clean, receiver.layer
        group = stack.n_heads // stack.n_kv
        first = receiver.head if receiver.kind == "q" else receiver.head * group
        width = 1 if receiver.kind == "q" else group
        key_head = first // group
        # Queries, keys and values of the receiver's heads: clean but for what is received.
        q = clean.q[layer][:, first : first + width].repeat(count, 1, 1, 1)
        k = clean.k[layer][:, key_head : key_head + 1].repeat(count, 1, 1, 1)
        v = clean.v[layer][:, key_head : key_head + 1].repeat(count, 1, 1, 1)
        own = {"q": q, "k": k, "v": v}[receiver.kind]
        if receiver.place:
            mask = self.mask(receiver.place)[:, self.start :, None].repeat(count, 1, 1).to(own.device)
            received_BSD = torch.where(mask, received_BSD, own[:, 0, self.start :])
        own[:, 0, self.start :] = received_BSD
        places = self.places_of(layer)
        z = self.attend(layer, pick_heads(q, places), k, v, places)
        self.cost.add("effect", layer, attention_flops(stack, len(q), z.shape[2], self.length, width))
        return self.from_heads(layer, first, z, places, count)
