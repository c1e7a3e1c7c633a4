"""Log-likelihoods of many continuations: one walk over the tree of all requests.

Reading a request means reading the logits behind each token of its context's end and continuation,
one row a continuation token. Requests that differ only in their last token (the letters of a choice)
read the same row. The head runs on rows that are read, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.engine.accounting import Accounting
from harness.engine.progress import Progress
from harness.engine.settings import EngineSettings
from harness.engine.tree import Ints, PrefixTree, TokenIds
from harness.engine.walk import Core, Walk, free_memory, out_of_memory


@dataclass(frozen=True)
class ScoringPlan:
    """What has to be computed for a set of requests, whatever the weights.

    Attributes:
        tree: their tokens; the last one of each request is predicted only, so it is not in it.
        rows: tokens of the tree whose logits are read, ascending. ``[rows]``
        pair_rows: index into ``rows`` of each read logit, ascending. ``[pairs]``
        pair_tokens: the token whose log-probability is read there. ``[pairs]``
        places: where each pair belongs when requests stand in their order. ``[pairs]``
        bounds: start of each request among the pairs in that order, and the end. ``[requests + 1]``
        tokens: tokens of all requests as given, shared ones counted as often as they stand there.
        clipped: requests that lost tokens on the left.
    """

    tree: PrefixTree
    rows: Ints
    pair_rows: Ints
    pair_tokens: Ints
    places: Ints
    bounds: Ints
    tokens: int
    clipped: int

    @classmethod
    def of(cls, given: Sequence[tuple[TokenIds, int]], max_length: int) -> ScoringPlan:
        """Plans requests given as ``(tokens, n)``: the last ``n`` of the tokens are scored.

        What is longer than the context loses tokens on the left. The last token is only predicted, so
        one token more than the context fits.
        """
        requests = [(tokens[-(max_length + 1) :], n) for tokens, n in given]
        tree = PrefixTree.of([tokens[:-1] for tokens, _ in requests])
        reads: list[Ints] = []
        for (_, n), last in zip(requests, tree.lasts, strict=True):
            reads.append(_tail(tree, int(last), n))
        lengths = np.array([n for _, n in requests], dtype=np.int64)
        read = np.concatenate(reads)
        targets = np.concatenate([np.asarray(tokens[-n:], dtype=np.int64) for tokens, n in requests])
        places = np.argsort(read, kind="stable")
        rows, pair_rows = np.unique(read[places], return_inverse=True)
        return cls(
            tree=tree,
            rows=rows,
            pair_rows=pair_rows,
            pair_tokens=targets[places],
            places=places,
            bounds=np.concatenate([[0], np.cumsum(lengths)]),
            tokens=sum(len(tokens) for tokens, _ in given),
            clipped=sum(len(tokens) > max_length + 1 for tokens, _ in given),
        )


def _tail(tree: PrefixTree, last: int, n: int) -> Ints:
    """The last ``n`` tokens of a path."""
    out = [last]
    for _ in range(n - 1):
        out.append(int(tree.parents[out[-1]]))
    return np.array(out[::-1], dtype=np.int64)


def score(
    core: Core, plan: ScoringPlan, settings: EngineSettings, accounting: Accounting, progress: Progress
) -> list[tuple[float, bool]]:
    """Log-likelihood of each request and whether greedy decoding would have given it.

    Raises:
        ValueError: if the cache's budget cannot hold the longest request.
    """
    # Held at the end of a slice: the path that led to it, and the one to what comes next.
    core.check_budget(2 * int(plan.tree.positions.max() + 1), settings.cache_mb, "two paths")
    walk = Walk(core, plan.tree, settings.batch_tokens, accounting)
    values: list[NDArray[np.float64]] = []
    with core.running():
        while walk.at < len(plan.tree):
            start = walk.at
            hidden, _ = walk.advance(len(plan.tree))
            values.append(_read(core, plan, hidden, start, walk.at))
            progress.update(walk.at - start)
    answers = np.empty((2, len(plan.places)))
    answers[:, plan.places] = np.concatenate(values, axis=1)
    # Continuations are never empty, so every segment of the reduction has an element.
    sums = np.add.reduceat(answers[0], plan.bounds[:-1])
    greedy = np.minimum.reduceat(answers[1], plan.bounds[:-1])
    return [(float(value), bool(flag)) for value, flag in zip(sums, greedy, strict=True)]


def _read(core: Core, plan: ScoringPlan, hidden: Tensor, start: int, stop: int) -> NDArray[np.float64]:
    """Log-probability and greedy flag of each pair of a slice, ``[2, pairs]``; one copy to the host."""
    first, last = np.searchsorted(plan.rows, [start, stop])
    wide = core.head.rows_at_once(hidden)
    parts: list[Tensor] = []
    low = int(first)
    while low < last:
        try:
            parts.append(_read_rows(core, plan, hidden, start, low, min(low + wide, int(last))))
            low += wide
            continue
        except RuntimeError as error:
            if not out_of_memory(error) or wide < 2:
                raise
        wide //= 2
        free_memory()
    if not parts:
        return np.empty((2, 0))
    return torch.cat(parts, dim=1).cpu().double().numpy()


def _read_rows(core: Core, plan: ScoringPlan, hidden: Tensor, start: int, low: int, high: int) -> Tensor:
    """The pairs of rows ``[low, high)``, ``[2, pairs]``."""
    a, b = np.searchsorted(plan.pair_rows, [low, high])
    rows = torch.from_numpy(plan.rows[low:high] - start).to(hidden.device)
    at = torch.from_numpy(plan.pair_rows[a:b] - low).to(hidden.device)
    targets = torch.from_numpy(plan.pair_tokens[a:b]).to(hidden.device)
    return core.head.log_probabilities(hidden[rows], at, targets)
