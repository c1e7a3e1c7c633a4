"""From a change in one layer to the answer: the layers behind it, computed anew where they can differ.

Axes: R rows for each prompt (senders, heads, ...), N prompts, S positions from ``start`` on, others as in
`harness.circuits.stack`. Rows are (R N).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.circuits.attention import attend
from harness.circuits.cost import Cost
from harness.circuits.prompts import Prompts
from harness.circuits.stack import Places, Stack
from harness.circuits.trace import Trace, attention_flops, trace


@dataclass
class Batch:
    """Prompts that are computed together, with what the model makes of them.

    Attributes:
        prompts: the prompts.
        clean: pass B.
        corrupt_z: output of each head in pass A, ``[L][N, H, T, D]``.
        corrupt_logits_NV: of pass A, at the ends.
        start: first position at which any of them differs.
    """

    prompts: Prompts
    clean: Trace
    corrupt_z: list[Tensor]
    corrupt_logits_NV: Tensor
    start: int

    @classmethod
    def of(cls, stack: Stack, prompts: Prompts, cost: Cost) -> Batch:
        """Passes A and B; to be called inside ``stack.running()``."""
        clean = trace(stack, prompts.clean_NT.to(stack.device), prompts.ends_N, cost)
        corrupt = trace(stack, prompts.corrupt_NT.to(stack.device), prompts.ends_N, cost)
        return cls(prompts, clean, corrupt.z, corrupt.logits_BV, int(prompts.starts_N.min()))


class Downstream:
    """What follows a change, over one batch of prompts.

    Args:
        stack: the model, inside ``stack.running()``.
        batch: the prompts.
        score: logits ``[..., N, V]`` -> a value for each prompt, ``[..., N]``.
        cost: where what is computed is counted.
    """

    def __init__(self, stack: Stack, batch: Batch, score: Callable[[Tensor], Tensor], cost: Cost) -> None:
        self.stack, self.batch, self.cost = stack, batch, cost
        self._score = score
        self.n, self.length = batch.prompts.clean_NT.shape
        self.start = batch.start

    def from_heads(self, layer: int, first: int, z_BHSD: Tensor, places: Places, count: int) -> Tensor:
        """The metric when some heads of a layer put out something else, ``[R, N]``.

        Args:
            layer: their layer; of the last one only the prompts' ends are to be given.
            first: first of the heads; the others follow it.
            z_BHSD: what they put out at some positions.
            places: these positions.
            count: R.
        """
        stack, clean = self.stack, self.batch.clean
        width = z_BHSD.shape[1]
        before = self.rows_heads(clean.z[layer][:, first : first + width], places, count)
        weights = stack.project_LHDE[layer][first : first + width]
        given = self.rows(clean.out[layer], places, count)
        given = given + torch.einsum("bhsd,hde->bse", z_BHSD - before, weights)
        x = stack.replay(layer, self.rows(clean.streams[layer], places, count), given, clean.calls[layer])
        size = stack.sizes[layer].mlp + width * stack.head_size * given.shape[2]
        self.cost.add("effect", layer, 2 * len(x) * x.shape[1] * size)
        for later in range(layer + 1, stack.n_layers):
            x = self._live(later, x, count)
        return self.read(x[:, 0] if x.shape[1] == 1 else self.ends(x), count, "effect")

    def places_of(self, layer: int) -> Places:
        """Positions that matter behind a layer: of the last one, those that are read."""
        last = layer == self.stack.n_layers - 1
        return self.batch.prompts.ends_N if last else slice(self.start, self.length)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, places: Places) -> Tensor:
        """Attention of queries at some positions, ``[B, H, S, D]``."""
        at = (
            torch.arange(places.start, places.stop)[None]
            if isinstance(places, slice)
            else places.repeat(len(q) // self.n)[:, None]
        )
        clean = self.batch.clean
        return attend(q, k, v, at.to(q.device), clean.scalings[layer], clean.windows[layer])

    def _live(self, layer: int, x: Tensor, count: int) -> Tensor:
        """A whole layer behind the receiver's; of the last one only the position that is read."""
        stack, clean, start = self.stack, self.batch.clean, self.start
        x = x.to(clean.out[layer].device)
        size, rows, places = stack.sizes[layer], x.shape[0], slice(start, self.length)
        before = [t[layer][:, :, :start].repeat(count, 1, 1, 1) for t in (clean.k, clean.v)]

        def whole(_layer: int, q: Tensor, k: Tensor, v: Tensor, _scaling: float, _window: int | None) -> Tensor:
            keys, values = (torch.cat([old, new], dim=2) for old, new in zip(before, (k, v), strict=True))
            return self.attend(layer, q, keys, values, places)

        if layer < stack.n_layers - 1:
            self.cost.add("effect", layer, 2 * rows * x.shape[1] * (size.qkv + size.out + size.mlp))
            self.cost.add("effect", layer, attention_flops(stack, rows, x.shape[1], self.length, stack.n_heads))
            return stack.live(layer, x, places, clean.calls[layer], whole)
        _, k, v = stack.qkv(layer, x, places, clean.calls[layer])
        keys, values = (torch.cat([old, new], dim=2) for old, new in zip(before, (k, v), strict=True))
        ends = self.batch.prompts.ends_N
        self.cost.add("effect", layer, 2 * rows * (x.shape[1] * size.qkv + size.qkv + size.out + size.mlp))
        self.cost.add("effect", layer, attention_flops(stack, rows, 1, self.length, stack.n_heads))
        return stack.live(
            layer, self.ends(x)[:, None], ends.repeat(count), clean.calls[layer],
            lambda _l, q, _k, _v, _s, _w: self.attend(layer, q, keys, values, ends),
        )  # fmt: skip

    def read(self, x_BE: Tensor, count: int, name: str) -> Tensor:
        """The metric of streams at the prompts' ends, ``[R, N]``."""
        self.cost.add(name, self.stack.n_layers, 2 * len(x_BE) * self.stack.head_weights)
        logits = self.stack.logits(x_BE)
        return self._score(logits.view(count, self.n, -1)).cpu()

    def rows(self, tensor_NTE: Tensor, places: Places, count: int) -> Tensor:
        """Positions of a clean tensor, once for each sender, ``[R N, S, E]``."""
        return pick(tensor_NTE, places).repeat(count, 1, 1)

    def rows_heads(self, tensor_NHTD: Tensor, places: Places, count: int) -> Tensor:
        """The same for heads, ``[R N, H, S, D]``."""
        return pick_heads(tensor_NHTD, places).repeat(count, 1, 1, 1)

    def ends(self, x_BSE: Tensor) -> Tensor:
        """Rows at the prompts' ends of a stream that begins at ``start``, ``[B, E]``."""
        ends = (self.batch.prompts.ends_N - self.start).repeat(len(x_BSE) // self.n).to(x_BSE.device)
        return x_BSE[torch.arange(len(x_BSE), device=x_BSE.device), ends]

    def mask(self, place: str) -> Tensor:
        """Where a named position lies, ``[N, T]``."""
        return torch.arange(self.length) == self.batch.prompts.place(place)[:, None]


def pick(tensor_NTE: Tensor, places: Places) -> Tensor:
    """Positions of the middle axis: a slice, or one for each row (of N; repeated rows have the same), ``[N, S, E]``."""
    if isinstance(places, slice):
        return tensor_NTE[:, places]
    return tensor_NTE[torch.arange(len(tensor_NTE)), places.to(tensor_NTE.device)][:, None]


def pick_heads(tensor_BHTD: Tensor, places: Places) -> Tensor:
    """The same for ``[B, H, T, D]``."""
    if isinstance(places, slice):
        return tensor_BHTD[:, :, places]
    at = places.repeat(len(tensor_BHTD) // len(places)).to(tensor_BHTD.device)
    return tensor_BHTD[torch.arange(len(tensor_BHTD)), :, at][:, :, None]
