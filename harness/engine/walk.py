"""Walking a prefix tree through the model, each token once, within a bounded cache."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.anatomy import Anatomy
from harness.engine.accounting import Accounting
from harness.engine.attention import Attends, engine_attention
from harness.engine.blocks import Slice
from harness.engine.head import Head
from harness.engine.tree import Ints, PrefixTree
from harness.forwards import input_device

logger = logging.getLogger(__name__)
KeysValues = dict[int, tuple[Tensor, Tensor]]  # layer -> [kv_heads, tokens, head_size] each


class Core:
    """The resident model as the engine calls it: one row of packed tokens in, hidden states out."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.head = Head(model)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The model takes packed rows for the length of the block."""
        with torch.inference_mode(), engine_attention(self.model):
            yield

    def hidden(self, tokens: Ints, positions: Ints, engine: Attends) -> Tensor:
        """Last hidden states, normed, ``[tokens, hidden]``."""
        device = input_device(self.model)
        ids = torch.from_numpy(np.ascontiguousarray(tokens)).to(device)
        places = torch.from_numpy(np.ascontiguousarray(positions)).to(device)
        out = self.model.base_model(
            input_ids=ids[None], position_ids=places[None], use_cache=False, engine=engine
        ).last_hidden_state[0]
        return out

    def check_budget(self, tokens: int, cache_mb: int, what: str) -> int:
        """Bytes of keys and values of so many tokens.

        Raises:
            ValueError: if the budget cannot hold them.
        """
        need = tokens * self.token_bytes()
        if need > cache_mb << 20:
            raise ValueError(
                f"runtime.cache_mb={cache_mb} cannot hold {what} of {tokens} tokens, which takes "
                f"{need / 2**20:.1f} MiB of keys and values; raise it, or lower runtime.max_length"
            )
        return need

    def token_bytes(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        shape = Anatomy.of(self.model)
        return 2 * shape.n_layers * shape.n_kv_heads * shape.head_size * self.model.dtype.itemsize


class Walk:
    """One pass over a tree in pre-order, slice by slice.

    Between slices only the keys and values of the path to the next token are held: what any other
    token led to has been computed. So the cache never exceeds one path and the slice at work.

    Args:
        core: the model.
        tree: the tree.
        slice_tokens: tokens of a slice.
        accounting: counts computed tokens and halved slices.
    """

    def __init__(self, core: Core, tree: PrefixTree, slice_tokens: int, accounting: Accounting) -> None:
        self.at = 0
        self._core, self._tree, self._accounting = core, tree, accounting
        self.slice_tokens = slice_tokens
        self._held: Ints = np.empty(0, dtype=np.int64)
        self._cache: KeysValues = {}

    def advance(self, stop: int, wanted: Sequence[Ints] = ()) -> tuple[Tensor, list[KeysValues]]:
        """Computes the next slice.

        Args:
            stop: where it ends at the latest; it is shorter if it would hold more than ``slice_tokens``.
            wanted: sets of tokens (of the slice, or ancestors of its start) whose keys and values the
                caller wants.

        Returns:
            Hidden states of the slice from the old ``at`` to the new one, ``[tokens, hidden]``, and keys
            and values for each set of ``wanted`` (those of them that the slice reached).
        """
        while True:
            start, end = self.at, min(stop, self.at + self.slice_tokens)
            try:
                return self._compute(start, end, wanted)
            except RuntimeError as error:
                if not out_of_memory(error) or end - start < 2:
                    raise
            # Outside the handler, whose traceback would keep the failed slice's tensors alive.
            self.slice_tokens = (end - start) // 2
            self._accounting.halved_batches += 1
            logger.warning("out of memory with %d tokens in a batch; now %d", end - start, self.slice_tokens)
            free_memory()

    def _compute(self, start: int, end: int, wanted: Sequence[Ints]) -> tuple[Tensor, list[KeysValues]]:
        tree = self._tree
        path = self._ancestors(start, end)
        reached = [indices[indices < end] for indices in wanted]
        keep = np.unique(np.concatenate([path, *reached]))
        batch = Slice(tree, start, end, self._held, self._cache, keep)
        hidden = self._core.hidden(tree.tokens[start:end], tree.positions[start:end], batch)
        out = [_select(batch.kept, keep, indices) for indices in reached]
        self._cache = batch.kept if len(path) == len(keep) else _select(batch.kept, keep, path)
        self._held, self.at = path, end
        self._accounting.computed_tokens += end - start
        return hidden, out

    def _ancestors(self, start: int, end: int) -> Ints:
        """The path to token ``end``: what later slices may still attend to."""
        there = np.concatenate([self._held, np.arange(start, end)])
        return there[self._tree.ends[there] > end] if end < len(self._tree) else there[:0]


def free_memory() -> None:
    """Gives cached blocks back to the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def out_of_memory(error: RuntimeError) -> bool:
    """A GPU has an exception for it; the CPU's allocator only says so."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _select(kept: KeysValues, there: Ints, indices: Ints) -> KeysValues:
    at = torch.from_numpy(np.searchsorted(there, indices))
    return {
        layer: (key.index_select(1, at.to(key.device)), value.index_select(1, at.to(value.device)))
        for layer, (key, value) in kept.items()
    }
