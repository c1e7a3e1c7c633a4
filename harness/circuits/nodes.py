"""What a circuit is made of: heads that send, and what receives from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

Kind = Literal["q", "k", "v", "logits"]
_HEAD = re.compile(r"(\d+)\.(\d+)(?:@([\w+-]+))?")


class Head(NamedTuple):
    """An attention head, at every position or at a named one: ``9.6``, ``9.6@END``.

    Attributes:
        layer: its layer, from 0.
        head: query head in the layer, from 0.
        place: name of the position it is looked at; empty for all positions.
    """

    layer: int
    head: int
    place: str = ""

    def __str__(self) -> str:
        return f"{self.layer}.{self.head}{'@' if self.place else ''}{self.place}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """A head from its text.

        Raises:
            ValueError: for text of another form.
        """
        match = _HEAD.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no head: expected LAYER.HEAD, such as 9.6, or LAYER.HEAD@PLACE")
        return cls(int(match[1]), int(match[2]), match[3] or "")


class Receiver(NamedTuple):
    """What a path ends in: the logits (the residual stream behind the last layer), or an input of a head.

    Attributes:
        kind: ``logits``, or which of the head's inputs.
        layer: the head's layer; the number of layers for the logits.
        head: the query head for ``q``; the key-value head for ``k`` and ``v``, which moves every query
            head of its group.
        place: name of the position at which the input is patched; empty for all.
    """

    kind: Kind
    layer: int
    head: int = 0
    place: str = ""

    def __str__(self) -> str:
        if self.kind == "logits":
            return "logits"
        return f"{self.layer}.{self.head}{'@' if self.place else ''}{self.place}.{self.kind}"


def parse_heads(text: str | Iterable[str]) -> tuple[Head, ...]:
    """Heads from ``"9.6, 10.0"`` or a list, in order of layer and head, each once.

    Raises:
        ValueError: for text of another form.
    """
    pieces = text.replace(",", " ").split() if isinstance(text, str) else list(text)
    return tuple(sorted({Head.parse(piece) for piece in pieces}))


def heads_text(heads: Iterable[Head]) -> str:
    """Heads as text that `parse_heads` reads."""
    return " ".join(map(str, sorted(heads)))


def everywhere(heads: Iterable[Head]) -> frozenset[Head]:
    """Heads without their places: a head of which one position matters is in the circuit."""
    return frozenset(Head(h.layer, h.head) for h in heads)
