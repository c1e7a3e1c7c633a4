"""Clean and corrupt prompts as tokens of one model.

Axes: N prompts, T positions (the longest prompt's), A answers of a prompt (the most of any).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

END = "END"
NO_TOKEN = -1
_FEW = 12  # prompts of a batch below which its products are too small to be fast


@dataclass(frozen=True)
class Prompts:
    """Pairs of prompts of equal length, with the answers to the clean ones.

    Rows are padded at the right end (with their last token), which a causal model's earlier positions never see.

    Attributes:
        clean_NT: int64 token ids.
        corrupt_NT: likewise; of the same length, prompt by prompt.
        ends_N: position whose next token is asked for.
        right_NA: tokens of the right answers, padded with -1.
        wrong_NA: tokens of the wrong ones.
        edges_N2: for tasks with a cut-off: the first right token and the last wrong one beyond the cut-off's own;
            None for others.
        templates: what each prompt was made of: the group that a mean ablation takes its means in.
        places: name -> position in each prompt, ``[N]``; ``END`` is among them.
    """

    clean_NT: Tensor
    corrupt_NT: Tensor
    ends_N: Tensor
    right_NA: Tensor
    wrong_NA: Tensor
    templates: tuple[str, ...]
    edges_N2: Tensor | None = None
    places: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self):
            raise ValueError("no prompts")
        inside = torch.arange(self.clean_NT.shape[1]) <= self.ends_N[:, None]
        same = ((self.clean_NT == self.corrupt_NT) | ~inside).all(dim=1)
        if same.any():
            raise ValueError(f"prompt {int(same.nonzero()[0, 0])}: the corrupt one is the clean one")
        for name, answers in (("right", self.right_NA), ("wrong", self.wrong_NA)):
            if (empty := (answers == NO_TOKEN).all(dim=1)).any():
                raise ValueError(f"prompt {int(empty.nonzero()[0, 0])} has no {name} answer")

    def __len__(self) -> int:
        return len(self.ends_N)

    @property
    def starts_N(self) -> Tensor:
        """First position at which clean and corrupt differ: nothing before it can carry an effect."""
        inside = torch.arange(self.clean_NT.shape[1]) <= self.ends_N[:, None]
        return ((self.clean_NT != self.corrupt_NT) & inside).int().argmax(dim=1)

    @property
    def digest(self) -> str:
        """SHA-256 of tokens, answers and places."""
        out = hashlib.sha256("\0".join(self.templates).encode())
        for tensor in (self.clean_NT, self.corrupt_NT, self.ends_N, self.right_NA, self.wrong_NA):
            out.update(f"{tuple(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes())
        for name, positions in sorted(self.places.items()):
            out.update(name.encode() + positions.contiguous().numpy().tobytes())
        if self.edges_N2 is not None:
            out.update(self.edges_N2.contiguous().numpy().tobytes())
        return out.hexdigest()

    def take(self, indices: Sequence[int] | Tensor) -> Prompts:
        """Some of the prompts, trimmed to the longest of them."""
        at = torch.as_tensor(indices)
        length = int(self.ends_N[at].max()) + 1
        return replace(
            self,
            clean_NT=self.clean_NT[at, :length],
            corrupt_NT=self.corrupt_NT[at, :length],
            ends_N=self.ends_N[at],
            right_NA=self.right_NA[at],
            wrong_NA=self.wrong_NA[at],
            templates=tuple(self.templates[i] for i in at.tolist()),
            edges_N2=self.edges_N2[at] if self.edges_N2 is not None else None,
            places={name: positions[at] for name, positions in self.places.items()},
        )

    def swapped(self) -> Prompts:
        """The corrupt prompts in the clean ones' place, and the other way round; answers stay."""
        return replace(self, clean_NT=self.corrupt_NT, corrupt_NT=self.clean_NT)

    def place(self, name: str) -> Tensor:
        """Positions of a name, ``[N]``.

        Raises:
            ValueError: for a name that the prompts do not have.
        """
        if name not in self.places:
            raise ValueError(f"no position {name!r} in these prompts; named: {', '.join(sorted(self.places))}")
        return self.places[name]


def padded(rows: Sequence[Sequence[int]], fill: int | None = None) -> Tensor:
    """Rows of different lengths as one int64 tensor, filled up with a number, or with each row's last one."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[row[-1] if fill is None else fill] * (length - len(row))] for row in rows])


def chunks(prompts: Prompts, tokens: int, groups: int = 1) -> list[Tensor]:
    """Indices of the prompts in batches of at most so many tokens (or of one prompt).

    Prompts that begin to differ at the same position and end at the same one stand together: what is computed for a
    batch lies between the first difference and the last end.

    Args:
        prompts: the prompts.
        tokens: rows times positions of a batch.
        groups: batches that the prompts are at least shared out among, if each gets `_FEW` of them.
    """
    keys = list(zip(prompts.starts_N.tolist(), prompts.ends_N.tolist(), strict=True))
    order = sorted(range(len(prompts)), key=lambda i: keys[i])
    largest = max(1, tokens // prompts.clean_NT.shape[1])
    size = min(largest, max(_FEW, -(-len(prompts) // groups)))
    return [torch.tensor(sorted(order[i : i + size])) for i in range(0, len(order), size)]
