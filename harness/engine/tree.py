"""The prefix tree of a set of token sequences, laid out flat in pre-order.

In pre-order every token stands after all tokens that it attends to, and token j is an ancestor of
token i, or i itself, exactly when ``j <= i < ends[j]``. So the tree needs no nodes once it is laid
out: any slice of it is a batch, and masks are two comparisons (`harness.engine.blocks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
TokenIds = NDArray[np.int32] | NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """Tokens in a row that the same sequences share.

    Attributes:
        start: where it starts in the pre-order.
        stop: where it ends, exclusive.
        parent: index of the run before it, or -1.
        users: sequences that go through it (a sequence given n times counts n times).
    """

    start: int
    stop: int
    parent: int
    users: int


@dataclass(frozen=True)
class PrefixTree:
    """Distinct tokens of a set of sequences.

    Attributes:
        tokens: token ids in pre-order; siblings come longest path first. ``[tokens]``
        positions: place of each token in its sequences. ``[tokens]``
        ends: pre-order index behind the last descendant of each token. ``[tokens]``
        parents: pre-order index of the token before it, -1 at the start of a sequence. ``[tokens]``
        lasts: pre-order index of each sequence's last token. ``[sequences]``
        runs: the shared stretches, in pre-order.
    """

    tokens: Ints
    positions: Ints
    ends: Ints
    parents: Ints
    lasts: Ints
    runs: tuple[Run, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def of(cls, sequences: Sequence[TokenIds] | Sequence[Sequence[int]]) -> PrefixTree:
        """Builds the tree.

        Args:
            sequences: token ids, none of them empty; duplicates are welcome.
        """
        # Big-endian bytes sort as their numbers do, and compare at the speed of memcmp.
        # What is given several times over is one object as often as not.
        made: dict[int, bytes] = {}
        for sequence in sequences:
            if id(sequence) not in made:
                made[id(sequence)] = np.asarray(sequence, dtype=">u4").tobytes()
        keys = [made[id(sequence)] for sequence in sequences]
        assert all(keys), "a sequence without tokens has no place in the tree"
        order = sorted(set(keys))
        counts = dict.fromkeys(order, 0)
        for key in keys:
            counts[key] += 1
        grown = _grow(order, counts)
        return _lay_out(grown, order, keys)

    def path(self, token: int) -> Ints:
        """Pre-order indices from the root to ``token``, itself included."""
        chain = self.run_chain(token)
        stretches = [np.arange(run.start, run.stop) for run in chain[:-1]]
        return np.concatenate([*stretches, np.arange(chain[-1].start, token + 1)])

    def run_chain(self, token: int) -> list[Run]:
        """The runs from the root to the one that holds ``token``."""
        at = int(np.searchsorted(self._starts, token, side="right")) - 1
        chain = []
        while at >= 0:
            chain.append(self.runs[at])
            at = self.runs[at].parent
        return chain[::-1]

    @cached_property
    def _starts(self) -> Ints:
        return np.array([run.start for run in self.runs], dtype=np.int64)

    def check(self) -> None:
        """Asserts what every slice and mask relies on."""
        n = len(self)
        index = np.arange(n)
        assert len(self.positions) == len(self.ends) == len(self.parents) == n, "arrays of one length"
        assert (self.ends > index).all() and (self.ends <= n).all(), "a subtree holds its root and ends in the tree"
        child = self.parents >= 0
        parents = self.parents[child]
        assert (parents < index[child]).all(), "parents come first"
        assert (self.positions[child] == self.positions[parents] + 1).all(), "one step from parent to child"
        assert (self.positions[~child] == 0).all(), "sequences start at position 0"
        assert (self.ends[child] <= self.ends[parents]).all(), "subtrees nest"
        pairs = np.stack([self.parents, self.tokens], axis=1)
        assert len(np.unique(pairs, axis=0)) == n, "no token of the tree stands there twice"
        covered = [t for run in self.runs for t in range(run.start, run.stop)]
        assert covered == list(range(n)), "runs cover the tree in order"


@dataclass
class _Node:
    """A stretch ``[start, stop)`` of the sequence ``key``."""

    key: int
    start: int
    stop: int
    children: list[_Node] = field(default_factory=list)
    users: int = 0
    reach: int = 0


def _grow(order: list[bytes], counts: dict[bytes, int]) -> list[_Node]:
    """The tree's roots, from distinct sequences in order: each joins its predecessor where they part."""
    roots: list[_Node] = []
    path: list[_Node] = []
    before = np.empty(0, dtype=">u4")
    for key, raw in enumerate(order):
        sequence = np.frombuffer(raw, dtype=">u4")
        fork = _common(before, sequence)
        while path and path[-1].start >= fork:
            path.pop()
        if path and path[-1].stop > fork:
            upper = path[-1]
            lower = _Node(upper.key, fork, upper.stop, upper.children, upper.users)
            upper.stop, upper.children = fork, [lower]
        leaf = _Node(key, fork, len(sequence))
        (path[-1].children if path else roots).append(leaf)
        path.append(leaf)
        for node in path:
            node.users += counts[raw]
        before = sequence
    return roots


def _common(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> int:
    """Length of the common prefix."""
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    return int(differs.argmax()) if differs.any() else n


def _pre_order(roots: list[_Node]) -> list[tuple[_Node, int]]:
    """Nodes in pre-order with the index of each one's parent; the longest path first among siblings."""
    flat: list[tuple[_Node, int]] = []
    todo = [(root, -1) for root in reversed(roots)]
    while todo:
        node, parent = todo.pop()
        flat.append((node, parent))
        todo.extend((child, len(flat) - 1) for child in reversed(node.children))
    return flat


def _lay_out(roots: list[_Node], order: list[bytes], keys: list[bytes]) -> PrefixTree:
    for node, _ in reversed(_pre_order(roots)):  # children before their parents
        node.reach = max([node.stop, *(c.reach for c in node.children)])
        node.children.sort(key=lambda child: -child.reach)
    roots.sort(key=lambda root: -root.reach)

    flat = _pre_order(roots)
    sizes = np.array([node.stop - node.start for node, _ in flat], dtype=np.int64)
    stops = np.cumsum(sizes)
    starts = stops - sizes
    ends = stops.copy()
    for i in range(len(flat) - 1, -1, -1):  # a parent ends where its last child does
        parent = flat[i][1]
        if parent >= 0:
            ends[parent] = max(ends[parent], ends[i])
    tokens = [np.frombuffer(order[node.key], dtype=">u4")[node.start : node.stop] for node, _ in flat]
    parents = np.arange(-1, int(sizes.sum()) - 1)
    for i, (_, parent) in enumerate(flat):
        parents[starts[i]] = stops[parent] - 1 if parent >= 0 else -1
    lasts = {}
    for i, (node, _) in enumerate(flat):
        if node.stop * 4 == len(order[node.key]):
            lasts[order[node.key]] = stops[i] - 1
    return PrefixTree(
        tokens=np.concatenate(tokens).astype(np.int64) if tokens else np.empty(0, dtype=np.int64),
        positions=np.concatenate([np.arange(n.start, n.stop) for n, _ in flat]) if flat else np.empty(0, np.int64),
        ends=np.repeat(ends, sizes),
        parents=parents,
        lasts=np.array([lasts[key] for key in keys], dtype=np.int64),
        runs=tuple(Run(int(a), int(b), p, n.users) for a, b, (n, p) in zip(starts, stops, flat, strict=True)),
    )
