"""Minimal pairs: a prefix, the token that goes on rightly and the one that goes on wrongly.

Read from files of the forms that the field uses (see `harness.crosscoder.pair_files`) or drawn from the lab's own
sentences. Items whose continuations cannot be told apart by one token are left out and counted.

Axes: I items, T positions.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from harness.crosscoder.tokens import Rows, stacked
from harness.lab import corpus, sentences

MISSES = 5000  # draws without a new pair after which a lab task has no more
LONGEST = 2  # tokens of a continuation, as in the paper


@dataclass(frozen=True)
class Pair:
    """A prefix with its two continuations.

    Attributes:
        prefix: what stands before.
        right: the continuation that is right, with its leading space.
        wrong: the one that is not.
        group: its kind, a column of tables.
        cluster: what it shares with items that are not independent of it.
    """

    prefix: str
    right: str
    wrong: str
    group: str
    cluster: str


@dataclass(frozen=True)
class Items:
    """Pairs as tokens.

    Attributes:
        rows: the prefixes.
        ends_I: last position of each prefix.
        right_I: token that is right there.
        wrong_I: token that is wrong.
        groups: kind of each.
        clusters: number of each item's cluster.
        pairs: as text.
        left_out: reason -> how many pairs.
    """

    rows: Rows
    ends_I: Tensor
    right_I: Tensor
    wrong_I: Tensor
    groups: tuple[str, ...]
    clusters: tuple[int, ...]
    pairs: tuple[Pair, ...]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.pairs)

    def differences(self, logits_IV: Tensor, which: slice) -> Tensor:
        """Logit of the right token less that of the wrong one, for some of the items."""
        at = torch.arange(len(logits_IV), device=logits_IV.device)
        right, wrong = (ids[which].to(logits_IV.device) for ids in (self.right_I, self.wrong_I))
        return logits_IV[at, right] - logits_IV[at, wrong]


class UnfitError(Exception):
    """Why a pair cannot be used with a tokenizer."""


def encode(
    pairs: Sequence[Pair],
    tokenizer: PreTrainedTokenizerBase,
    sinks: Tensor,
    first: bool,
    most: int | None = None,
    seed: int = 0,
) -> Items:
    """Pairs as tokens of one model.

    Args:
        pairs: what is asked.
        tokenizer: of the models.
        sinks: token ids that are left out; see `harness.crosscoder.tokens.stacked`.
        first: leave out the first position.
        most: pairs of each group that are used, drawn among those that fit; None for all. Pairs are looked at until
            there are as many: what is left out is counted among these.
        seed: draws them.

    Raises:
        ValueError: if no pair fits.
    """
    found: dict[int, tuple[list[int], int, int]] = {}
    left_out: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    order = list(range(len(pairs)))
    if most is not None:
        random.Random(f"limit-{seed}").shuffle(order)
    for i in order:
        if most is not None and counts[pairs[i].group] == most:
            continue
        try:
            found[i] = _ids(pairs[i], tokenizer)
            counts[pairs[i].group] += 1
        except UnfitError as error:
            left_out[str(error)] += 1
    used = [pairs[i] for i in sorted(found)]
    encoded = [found[i] for i in sorted(found)]
    if not used:
        told = ", ".join(f"{count} x {reason}" for reason, count in left_out.most_common())
        raise ValueError(f"none of the {len(pairs)} pairs can be used with this tokenizer: {told or 'there are none'}")
    rows = stacked([torch.tensor(ids) for ids, _, _ in encoded], sinks, first)
    numbers: dict[str, int] = {}
    return Items(
        rows=rows,
        ends_I=torch.tensor([len(ids) - 1 for ids, _, _ in encoded]),
        right_I=torch.tensor([right for _, right, _ in encoded]),
        wrong_I=torch.tensor([wrong for _, _, wrong in encoded]),
        groups=tuple(p.group for p in used),
        clusters=tuple(numbers.setdefault(p.cluster, len(numbers)) for p in used),
        pairs=tuple(used),
        left_out=dict(left_out),
    )


def _ids(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], int, int]:
    """Tokens of the prefix with what both continuations share, and the first token that tells them apart."""
    prefix = list(tokenizer(pair.prefix)["input_ids"]) if pair.prefix else []
    # A tokenizer that ends each text with a special token would put it between prefix and answer.
    right, wrong = (list(tokenizer(pair.prefix + text)["input_ids"]) for text in (pair.right, pair.wrong))
    if right[: len(prefix)] != prefix or wrong[: len(prefix)] != prefix:
        raise UnfitError("a continuation runs together with the prefix's last token")
    if len(right) != len(wrong):
        raise UnfitError("the continuations differ in their number of tokens")
    if len(right) - len(prefix) > LONGEST:
        raise UnfitError(f"a continuation has more than {LONGEST} tokens")
    at = next((i for i, (a, b) in enumerate(zip(right, wrong, strict=True)) if a != b), None)
    if at is None:
        raise UnfitError("the continuations are the same tokens")
    if at == 0:
        raise UnfitError("nothing stands before the continuation")
    return right[:at], right[at], wrong[at]


def lab_pairs(task: str, count: int, seed: int) -> list[Pair]:
    """Pairs of the lab's own sentences, from the side that its models were not trained on; each once.

    Raises:
        ValueError: for an unknown task.
    """
    if task not in sentences.TASKS:
        raise ValueError(f"lab task {task!r}; known: {', '.join(sentences.TASKS)}")
    rng = random.Random(f"pairs-{task}-{seed}")
    out: dict[tuple[str, str], Pair] = {}
    misses = 0
    while len(out) < count and misses < MISSES:
        s = sentences.TASKS[task](rng)
        new = corpus.split_of(task, s.key) == "test" and (s.prompt, s.right) not in out
        misses = 0 if new else misses + 1
        if new:
            out[s.prompt, s.right] = Pair(s.prompt, s.right, s.wrong, s.template, s.key)
    return list(out.values())
