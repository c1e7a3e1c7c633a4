"""Activations of all models for the same tokens, made in step from one stream, never all of them at once.

The stream is read in rounds: as many rows as the budget holds are read by each model in turn, the tokens are put in a
drawn order, and batches of them are served; then the next round takes their place. What a round holds follows from the
stream, the seed and the round's number alone, so a training goes on bit by bit where it was stopped.

Axes: N tokens of a round, B tokens of a batch, M models, D width, R rows, T positions.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.config.crosscoder import BufferConfig
from harness.crosscoder.lineup import Lineup
from harness.crosscoder.readings import read_batches
from harness.crosscoder.tokens import Rows, skip, stacked, take

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# NumPy knows no bfloat16: its bits are mapped as integers.
_NUMPY = {torch.float32: np.float32, torch.bfloat16: np.int16, torch.float16: np.float16}


class ActivationBuffer:
    """Rounds of activations of all models of a line-up.

    Attributes:
        capacity: tokens that a round holds.
        dropped: tokens left out so far because a model's norm was an outlier.
        served: tokens that went out so far.

    Args:
        lineup: the models.
        rows: gives the rows of ids from the start; the same whenever it is called.
        config: budget and storage.
        sinks: token ids that are left out.
        skip_first: leave out each row's first position.
        seed: draws the order of each round.
        wanted: tokens that will be asked for; a round is no larger than these need.
        folder: where a memory-mapped file may lie.
    """

    def __init__(
        self,
        lineup: Lineup,
        rows: Callable[[], Iterator[Tensor]],
        config: BufferConfig,
        sinks: Tensor,
        skip_first: bool,
        seed: int,
        wanted: int | None = None,
        folder: Path | None = None,
    ) -> None:
        if config.dtype not in DTYPES:
            raise ValueError(f"buffer.dtype={config.dtype!r}: expected {', '.join(DTYPES)}")
        if config.storage not in ("memory", "disk"):
            raise ValueError(f"buffer.storage={config.storage!r}: expected memory or disk")
        if config.passes < 1 or config.outlier <= 1:
            raise ValueError(f"buffer: passes={config.passes} (at least 1), outlier={config.outlier:g} (more than 1)")
        self._lineup, self._rows_of, self._config = lineup, rows, config
        self._sinks, self._first, self._seed = sinks, skip_first, seed
        shape = (len(lineup.members), lineup.width)
        dtype = DTYPES[config.dtype]
        self.capacity = config.megabytes * 2**20 // (shape[0] * shape[1] * dtype.itemsize)
        if self.capacity < config.batch_tokens:
            raise ValueError(
                f"buffer.megabytes={config.megabytes} holds {self.capacity} tokens of {shape[0]} models, {shape[1]} "
                f"wide: fewer than the {config.batch_tokens} that a model reads at a time; give it more"
            )
        if wanted is not None:
            # Of a round's end less than a batch may stay unserved, and outliers are dropped: a little more.
            self.capacity = min(self.capacity, -(-wanted // config.passes) * 11 // 10 + config.batch_tokens)
        self._store = _Store(self.capacity, shape, dtype, config.storage, folder)
        self._source = rows()
        self._round, self._filled, self._passed, self._at = -1, 0, 0, 0
        self._begin = 0  # first row of the round
        self._taken = 0  # rows of the round
        self._order = torch.empty(0, dtype=torch.long)
        self.dropped = self.served = 0

    def batch(self, size: int) -> Tensor | None:
        """The next activations, ``[size, M, D]`` in fp32; None when the stream has ended.

        What is left of a round and is no whole batch is not served.
        """
        if size > self.capacity:
            raise ValueError(f"a batch of {size} tokens, and the buffer holds {self.capacity}: give it more megabytes")
        if self._at + size > len(self._order):
            if self._filled and self._passed + 1 < self._config.passes:
                self._passed += 1
                self._shuffle()
            elif not self._fill(size):
                return None
        chosen = self._order[self._at : self._at + size]
        self._at += size
        self.served += size
        return self._store.read(chosen)

    def sample(self, tokens: int) -> Tensor:
        """Activations of the current round, for means and norms; fills the first one."""
        if self._round < 0 and not self._fill(1):
            raise ValueError("the text gave no tokens to train on")
        return self._store.read(self._order[:tokens])

    def restart(self, seed: int) -> None:
        """From the start in another order; what a first round read is not read again if it is still there."""
        self._seed = seed
        self.served = 0
        if self._round == 0:
            self._passed = 0
            self._shuffle()
        elif self._round > 0:
            self._source = self._rows_of()
            self._round, self._begin, self._taken, self.dropped = -1, 0, 0, 0
            self._order = torch.empty(0, dtype=torch.long)
            self._filled = 0

    def state(self) -> dict[str, int]:
        """Where it stands, for a file."""
        return {
            "round": self._round,
            "begin": self._begin,
            "passed": self._passed,
            "at": self._at,
            "dropped_before": self._dropped_before,
            "served": self.served,
        }

    def restore(self, state: dict[str, int]) -> None:
        """Goes to where it stood: reads the current round anew and nothing that went before."""
        self._source = self._rows_of()
        skip(self._source, state["begin"])
        self._begin, self._taken, self._round = state["begin"], 0, state["round"] - 1
        self.dropped = state["dropped_before"]
        if not self._fill(1):
            raise ValueError("the text ends before the place where the training was stopped: it has changed")
        self._passed = state["passed"]
        self._shuffle()
        self._at, self.served = state["at"], state["served"]

    def close(self) -> None:
        """Gives its memory or file back."""
        self._store.close()

    def _fill(self, least: int) -> bool:
        """Reads the next round; false if the stream has too little left."""
        self._begin += self._taken
        rows = take(self._source, self.capacity)
        self._taken = len(rows)
        self._dropped_before = self.dropped
        if not rows:
            return False
        self._round, self._passed = self._round + 1, 0
        # Rows of like length beside each other: little padding. The tokens are shuffled in any case.
        everything = stacked(sorted(rows, key=len), self._sinks, self._first)
        keep_N = self._read_all(everything)
        self._filled = len(keep_N)
        self._kept = keep_N
        self._shuffle()
        return self._filled >= least

    def _read_all(self, rows: Rows) -> Tensor:
        """Every model reads every row; returns where in the store tokens lie that are used."""
        count = min(int(rows.kept_RT.sum()), self.capacity)
        fine_N = torch.ones(count, dtype=torch.bool)
        for m, identity in enumerate(self._lineup.identities):
            if (same := self._lineup.identities.index(identity)) < m:
                self._store.copy(count, same, m)
                continue
            norms_N = torch.empty(count)
            with self._lineup.open(m) as reader:
                at = 0
                for read_ND in read_batches(reader, rows, self._config.batch_tokens):
                    x_ND = read_ND[: count - at]
                    self._store.write(at, m, x_ND)
                    norms_N[at : at + len(x_ND)] = x_ND.norm(dim=1)
                    at += len(x_ND)
            assert at == count, f"{at} activations of {count} tokens"
            if not torch.isfinite(norms_N).all():
                raise ValueError(f"{self._lineup.names[m]}: activations of layer {self._lineup.layer} are not finite")
            if count:
                fine_N &= norms_N <= self._config.outlier * norms_N.median()
        self.dropped += int((~fine_N).sum())
        return fine_N.nonzero()[:, 0]

    def _shuffle(self) -> None:
        drawn = random.Random(f"{self._seed}-{self._round}-{self._passed}").getrandbits(62)
        generator = torch.Generator().manual_seed(drawn)
        self._order = self._kept[torch.randperm(self._filled, generator=generator)]
        self._at = 0


class _Store:
    """``[N, M, D]`` in memory or in a file that has no name any more."""

    def __init__(
        self, capacity: int, shape: tuple[int, int], dtype: torch.dtype, storage: str, folder: Path | None
    ) -> None:
        whole = (capacity, *shape)
        self._file = None
        if storage == "memory":
            self._tensor = torch.empty(whole, dtype=dtype)
            return
        folder = folder or Path(tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        # Without a name the file goes with the process, however that ends.
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".activations-")  # noqa: SIM115
        mapped = np.memmap(self._file, dtype=_NUMPY[dtype], mode="w+", shape=whole)
        self._tensor = torch.from_numpy(mapped).view(dtype)

    def write(self, at: int, model: int, x_ND: Tensor) -> None:
        self._tensor[at : at + len(x_ND), model] = x_ND.to(self._tensor.dtype)

    def copy(self, count: int, model: int, other: int) -> None:
        self._tensor[:count, other] = self._tensor[:count, model]

    def read(self, where_B: Tensor) -> Tensor:
        return self._tensor[where_B].float()

    def close(self) -> None:
        self._tensor = torch.empty(0)
        if self._file is not None:
            self._file.close()
