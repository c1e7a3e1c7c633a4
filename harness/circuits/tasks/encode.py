"""Pairs of prompts as tokens: what does not fit the tokenizer is left out and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from harness.circuits.prompts import END, NO_TOKEN, Prompts, padded
from harness.circuits.tasks.pairs import Pair
from harness.circuits.tasks.spelling import Spelling


class UnfitError(Exception):
    """Why a pair cannot be used with a tokenizer."""


@dataclass(frozen=True)
class Encoded:
    """One pair as tokens; fields as in `Prompts`."""

    clean: list[int]
    corrupt: list[int]
    right: list[int]
    wrong: list[int]
    edges: tuple[int, int] | None
    places: dict[str, int]
    template: str


class Encoder:
    """Pairs as tokens of one model.

    Args:
        tokenizer: a fast tokenizer.
        max_length: tokens of the longest prompt that is kept; None for any.

    Raises:
        ValueError: for a slow tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> None:
        self._spelling = Spelling(tokenizer)
        self._tokenizer, self._max_length = tokenizer, max_length
        self._answers: dict[tuple[str, str], int | None] = {}

    def encode(self, pair: Pair) -> Encoded:
        """One pair.

        Raises:
            UnfitError: if it cannot be used, with the reason.
        """
        clean, offsets = self._ids(pair.clean)
        corrupt, _ = self._ids(pair.corrupt)
        right = list(dict.fromkeys(self._answer(pair, clean, text) for text in pair.right))
        wrong = list(dict.fromkeys(self._answer(pair, clean, text) for text in pair.wrong))
        edges = None
        if pair.edges is not None:
            first, last = (self._answer(pair, clean, text) for text in pair.edges)
            edges = first, last
        if pair.unfinished is not None:
            clean, right = self._unfinished(pair.clean, clean, pair.unfinished[0])
            _, wrong = self._unfinished(pair.clean, clean, pair.unfinished[1])
            corrupt, _ = self._unfinished(pair.corrupt, corrupt, pair.unfinished[1])
        if len(clean) != len(corrupt):
            raise UnfitError("clean and corrupt prompt differ in length")
        if clean == corrupt:
            raise UnfitError("clean and corrupt prompt are the same tokens")
        if set(right) & set(wrong):
            raise UnfitError("a right and a wrong answer begin with the same token")
        if self._max_length is not None and len(clean) > self._max_length:
            raise UnfitError(f"longer than {self._max_length} tokens")
        return Encoded(clean, corrupt, right, wrong, edges, self._places(pair, offsets, len(clean)), pair.template)

    def _ids(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoded = self._tokenizer(text, return_offsets_mapping=True)
        return list(encoded["input_ids"]), list(encoded["offset_mapping"])

    def _answer(self, pair: Pair, ids: list[int], answer: str) -> int:
        """First token of an answer behind its prompt; what precedes it is told by the prompt's last word."""
        key = "" if pair.apart else pair.clean[pair.clean.rfind(" ") :], answer
        if key not in self._answers:
            if pair.apart:
                alone = self._spelling.tokens(answer)
                self._answers[key] = alone[0] if len(alone) == 1 else None
            else:
                whole, _ = self._ids(pair.clean + answer)
                fits = whole[: len(ids)] == ids and len(whole) > len(ids)
                self._answers[key] = whole[len(ids)] if fits else None
        token = self._answers[key]
        if token is None:
            why = "is not one token" if pair.apart else "runs together with its prompt's last token"
            raise UnfitError(f"an answer {why}")
        return token

    def _unfinished(self, prompt: str, ids: list[int], word: str) -> tuple[list[int], list[int]]:
        """The prompt with all tokens of a word but the last, and the last."""
        whole, _ = self._ids(prompt + word)
        start = min(len(ids), len(whole))
        while start and whole[:start] != ids[:start]:
            start -= 1
        if len(whole) - start < 2:
            raise UnfitError("a word that should have several tokens has one")
        return whole[:-1], whole[-1:]

    def _places(self, pair: Pair, offsets: Sequence[tuple[int, int]], length: int) -> dict[str, int]:
        places = {END: length - 1}
        for name, (start, end) in pair.places.items():
            inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start and a < b]
            if not inside:
                raise UnfitError(f"no token stands for {name}")
            places[name] = inside[-1]
            if name in pair.following:
                places[f"{name}+1"] = inside[-1] + 1
        if max(places.values()) >= length:
            raise UnfitError("a named position lies behind the prompt's end")
        return places


def stack(encoded: Sequence[Encoded]) -> Prompts:
    """Pairs as one set of prompts; positions that not every pair names are left out.

    Raises:
        ValueError: without pairs.
    """
    if not encoded:
        raise ValueError("no prompts")
    names = set.intersection(*(set(e.places) for e in encoded))
    edges = [e.edges for e in encoded if e.edges is not None]
    return Prompts(
        clean_NT=padded([e.clean for e in encoded]),
        corrupt_NT=padded([e.corrupt for e in encoded]),
        ends_N=torch.tensor([len(e.clean) - 1 for e in encoded]),
        right_NA=padded([e.right for e in encoded], NO_TOKEN),
        wrong_NA=padded([e.wrong for e in encoded], NO_TOKEN),
        templates=tuple(e.template for e in encoded),
        edges_N2=torch.tensor(edges) if len(edges) == len(encoded) else None,
        places={name: torch.tensor([e.places[name] for e in encoded]) for name in sorted(names)},
    )


def unfit_templates(accepted: Counter[str], rejected: Counter[tuple[str, str]]) -> dict[str, str]:
    """Templates of which no pair fitted, with the most frequent reason."""
    out: dict[str, str] = {}
    for (template, reason), _ in rejected.most_common():
        if not accepted[template]:
            out.setdefault(template, reason)
    return dict(sorted(out.items()))
