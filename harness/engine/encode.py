"""Texts to tokens, as lm-eval's Hugging Face backend does it, each distinct text once and in batches.

What `HFLM` would give is the measure, whitespace and special tokens included: trailing spaces of a
context move to the continuation, context and continuation are encoded together and split where the
context alone ends, and an empty context becomes the prefix token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import has_bos_prefix
from numpy.typing import NDArray

Tokens = NDArray[np.int64]
_BATCH = 512


class Encoder:
    """Encodes texts with the tokenizer and the special-token rules of an `HFLM`."""

    def __init__(self, lm: HFLM) -> None:
        self._lm = lm
        self._tokenizer: Any = lm.tokenizer

    def encode(self, texts: Iterable[str], special: bool | None = None, bos: str | None = None) -> dict[str, Tokens]:
        """Tokens of each distinct text.

        Args:
            texts: any texts, duplicates welcome.
            special: add special tokens; None leaves it to the tokenizer and ``add_bos_token``.
            bos: with ``special`` None, a text that starts with this gets no special tokens.
        """
        if special is None:
            special = self._lm.add_bos_token
        plain: list[str] = []
        own: list[str] = []
        for text in dict.fromkeys(texts):
            (plain if has_bos_prefix(text, bos) else own).append(text)
        return {**self._batches(plain, False), **self._batches(own, special)}

    def _batches(self, texts: list[str], special: bool | None) -> dict[str, Tokens]:
        settings = {} if special is None else {"add_special_tokens": special}
        out: dict[str, Tokens] = {}
        for at in range(0, len(texts), _BATCH):
            batch = texts[at : at + _BATCH]
            for text, ids in zip(batch, self._tokenizer(batch, **settings)["input_ids"], strict=True):
                out[text] = np.asarray(ids, dtype=np.int64)
        return out

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[Tokens, int]]:
        """Context and continuation as one sequence, and how many of its tokens are the continuation's.

        Args:
            pairs: texts of context and continuation.
        """
        prefix = self._lm.prefix_token_id
        bos = self._tokenizer.decode(prefix)
        split = [_move_spaces(*pair) for pair in pairs]
        contexts = self.encode((c for c, _ in split if c), bos=bos)
        wholes = self.encode((c + t for c, t in split if c), bos=bos)
        alone = self.encode((t for c, t in split if not c), special=False)
        out: list[tuple[Tokens, int]] = []
        for context, target in split:
            if context:
                whole, n = wholes[context + target], len(contexts[context])
                # Merges across the border can make the whole shorter; `HFLM` keeps the context's own tokens.
                out.append((np.concatenate([contexts[context], whole[n:]]), max(0, len(whole) - n)))
            else:
                ids = alone[target]
                # A continuation that starts with the prefix token gives it away as context.
                given = int(len(ids) > 0 and ids[0] == prefix)
                whole = ids if given else np.concatenate([[prefix], ids])
                out.append((whole, len(ids) - given))
        return out


def _move_spaces(context: str, target: str) -> tuple[str, str]:
    """Moves trailing whitespace of the context to the continuation."""
    stripped = context.rstrip()
    return (stripped, context[len(stripped) :] + target) if stripped else (context, target)
