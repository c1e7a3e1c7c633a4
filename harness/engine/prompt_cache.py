"""A prompt that has been computed, and what of it others share."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from harness.engine.tree import Ints
from harness.engine.walk import KeysValues


@dataclass(frozen=True, eq=False)
class Segment:
    """Tokens that several prompts share.

    Attributes:
        depth: number of segments before it on its prompts.
        positions: their positions. ``[tokens]``
        cache: layer -> keys and values, ``[kv_heads, tokens, head_size]``.
    """

    depth: int
    positions: Tensor
    cache: KeysValues = field(repr=False)


@dataclass(frozen=True, eq=False)
class PromptCache:
    """A prompt that has been computed: shared segments and the rest.

    Attributes:
        segments: what it shares, outermost first.
        positions: positions of the rest. ``[tokens]``
        cache: layer -> keys and values of the rest.
        length: tokens of the whole prompt.
    """

    segments: tuple[Segment, ...]
    positions: Ints
    cache: KeysValues = field(repr=False)
    length: int
