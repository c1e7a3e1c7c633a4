"""Which words fit a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase


class Spelling:
    """A tokenizer as the tasks ask it; without one every word fits.

    Args:
        tokenizer: a fast tokenizer, whose offsets say which characters a token stands for; None asks nothing.

    Raises:
        ValueError: for a slow tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        if tokenizer is not None and not tokenizer.is_fast:
            raise ValueError(f"{type(tokenizer).__name__} is a slow tokenizer: it does not tell where its tokens lie")
        self.tokenizer = tokenizer

    def tokens(self, text: str) -> tuple[int, ...]:
        """Tokens of a text inside a sentence, special ones left out."""
        assert self.tokenizer is not None
        # Behind a letter, as some tokenizers put a space before what begins a text.
        before = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = self.tokenizer("a" + text, add_special_tokens=False)["input_ids"]
        return tuple(whole[len(before) :]) if whole[: len(before)] == before else tuple(whole)

    def choose(self, kind: str, words: Sequence[str], least: int, length: int | None = None) -> tuple[str, ...]:
        """Words of equally many tokens behind a space, no two of which begin with the same one.

        One token is best; where too few words are, the number of tokens that most words have is taken.

        Args:
            kind: what they are, for the error.
            words: all of them.
            least: how many there must be.
            length: a number of tokens that is asked for; their last tokens then differ in place of their first.

        Raises:
            ValueError: if there are fewer.
        """
        if self.tokenizer is None:
            return tuple(words)
        by_length: dict[int, dict[int, str]] = {}
        for word in words:
            tokens = self.tokens(f" {word}")
            by_length.setdefault(len(tokens), {}).setdefault(tokens[-1 if length else 0], word)
        wanted = [length] if length else [1, max(by_length, key=lambda n: len(by_length[n]))]
        for n in wanted:
            if len(found := by_length.get(n, {})) >= least:
                return tuple(found.values())
        have = ", ".join(f"{len(found)} of {n} tokens" for n, found in sorted(by_length.items()))
        raise ValueError(
            f"{kind}: {least} of equally many tokens{f' ({length})' if length else ''} are needed; this tokenizer "
            f"writes them as {have}"
        )
