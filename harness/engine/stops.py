"""Has a text reached one of its stop strings?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

# Tokens behind the longest stop string: the first of a window may decode to a torn character or lose
# its space.
_MARGIN = 4


class Stops:
    """Looks for stop strings at the end of texts that grow token by token.

    A stop string can only be complete when its last character arrives; where the newest token may have
    brought it, a window of the last tokens is decoded, long enough to hold the longest stop string if
    every token were one byte. What is found there is looked up in the whole text before it counts.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Any = tokenizer
        self._fast: Any = getattr(tokenizer, "backend_tokenizer", None)
        self._may_end: dict[tuple[int, tuple[str, ...]], bool] = {}

    def reached(self, texts: Sequence[list[int]], stops: Sequence[tuple[str, ...]]) -> list[bool]:
        """For each text whether it holds one of its stop strings.

        Args:
            texts: tokens generated so far.
            stops: the stop strings of each.
        """
        asked = [i for i, (text, strings) in enumerate(zip(texts, stops, strict=True)) if self._ends(text[-1], strings)]
        tails = self._decode([texts[i][-_window(stops[i]) :] for i in asked])
        out = [False] * len(texts)
        for i, tail in zip(asked, tails, strict=True):
            out[i] = any(s in tail for s in stops[i]) and self._holds(texts[i], stops[i])
        return out

    def _ends(self, token: int, strings: tuple[str, ...]) -> bool:
        """The token may bring the last character of a stop string; never wrongly no."""
        key = token, strings
        if key not in self._may_end:
            text = self._tokenizer.decode([token], skip_special_tokens=False)
            last = {s[-1] for s in strings}
            # On its own a token may be a torn character, or lose the space it starts with.
            torn = not text.strip() or "\ufffd" in text
            self._may_end[key] = torn or any(c in text or c.isspace() for c in last)
        return self._may_end[key]

    def _decode(self, windows: list[list[int]]) -> list[str]:
        if self._fast is not None:
            return self._fast.decode_batch(windows, skip_special_tokens=False)
        return [self._tokenizer.decode(window, skip_special_tokens=False) for window in windows]

    def _holds(self, text: list[int], strings: tuple[str, ...]) -> bool:
        # A stop string may be a special token's, which decoding for people leaves out.
        return any(s in self._tokenizer.decode(text, skip_special_tokens=False) for s in strings)


def _window(strings: tuple[str, ...]) -> int:
    return max((len(s.encode()) for s in strings), default=0) + _MARGIN
