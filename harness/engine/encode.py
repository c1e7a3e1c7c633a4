"""Texts to tokens, as lm-eval's Hugging Face backend does it, each distinct text once and in batches.

What `HFLM` would give is the measure, whitespace and special tokens included: trailing spaces of a
context move to the continuation, context and continuation are encoded together and split where the
context alone ends, and an empty context becomes the prefix token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import has_bos_prefix
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import BPE

Tokens = NDArray[np.int32]
_BATCH = 512
_CHECKED = 32


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
        return {text: encoded.tokens for text, encoded in self._encode(texts, special, bos).items()}

    def _encode(self, texts: Iterable[str], special: bool | None, bos: str | None) -> dict[str, _Encoded]:
        if special is None:
            special = self._lm.add_bos_token
        plain: list[str] = []
        own: list[str] = []
        for text in dict.fromkeys(texts):
            (plain if has_bos_prefix(text, bos) else own).append(text)
        return {**self._batches(plain, False), **self._batches(own, special)}

    def _batches(self, texts: list[str], special: bool | None) -> dict[str, _Encoded]:
        settings = {} if special is None else {"add_special_tokens": special}
        out: dict[str, _Encoded] = {}
        for at in range(0, len(texts), _BATCH):
            batch = texts[at : at + _BATCH]
            encoded = self._tokenizer(batch, **settings)
            rules = encoded.encodings or [None] * len(batch)
            for text, ids, rule in zip(batch, encoded["input_ids"], rules, strict=True):
                out[text] = _Encoded(np.asarray(ids, dtype=np.int32), *_seam(text, rule))
        return out

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[Tokens, int]]:
        """Context and continuation as one sequence, and how many of its tokens are the continuation's.

        Args:
            pairs: texts of context and continuation.
        """
        prefix = self._lm.prefix_token_id
        bos = self._tokenizer.decode(prefix)
        split = [_move_spaces(*pair) for pair in pairs]
        contexts = self._encode((c for c, _ in split if c), None, bos)
        wholes = self._wholes([(c, t) for c, t in split if c], contexts, bos)
        alone = self.encode((t for c, t in split if not c), special=False)
        out: list[tuple[Tokens, int]] = []
        for context, target in split:
            if context:
                own = contexts[context].tokens
                rest = wholes[context, target][len(own) :]
                # Merges across the border can make the whole shorter; `HFLM` keeps the context's own tokens.
                out.append((np.concatenate([own, rest]), len(rest)))
            else:
                ids = alone[target]
                # A continuation that starts with the prefix token gives it away as context.
                given = int(len(ids) > 0 and ids[0] == prefix)
                whole = ids if given else np.concatenate([np.array([prefix], dtype=np.int32), ids])
                out.append((whole, len(ids) - given))
        return out

    def _wholes(
        self, pairs: Sequence[tuple[str, str]], contexts: dict[str, _Encoded], bos: str
    ) -> dict[tuple[str, str], Tokens]:
        """Tokens of context and continuation together, without encoding the context again if that is safe."""
        distinct = list(dict.fromkeys(pairs))
        if not self._splits_locally():
            return self._joined(distinct, bos)
        cut = [(c, t) for c, t in distinct if contexts[c].token]
        tails = self.encode((c[contexts[c].char :] + t for c, t in cut), special=False)
        joined = {}
        for c, t in cut:
            ours = contexts[c]
            joined[c, t] = np.concatenate([ours.tokens[: ours.token], tails[c[ours.char :] + t]])
        # Contexts too short for a seam.
        joined |= self._joined([(c, t) for c, t in distinct if not contexts[c].token], bos)
        # Not on trust: some are encoded whole, and one that differs sends all of them the long way.
        whole = self._joined(cut[:: max(1, len(cut) // _CHECKED)], bos)
        if all(np.array_equal(joined[pair], tokens) for pair, tokens in whole.items()):
            return joined
        return self._joined(distinct, bos)

    def _joined(self, pairs: Sequence[tuple[str, str]], bos: str) -> dict[tuple[str, str], Tokens]:
        """The long way: every pair as one text."""
        encoded = self.encode((c + t for c, t in pairs), bos=bos)
        return {(c, t): encoded[c + t] for c, t in pairs}

    def _splits_locally(self) -> bool:
        """The tokenizer cuts a text into words by a rule that looks a character ahead and never back.

        Then tokens of all words but the last two of a context are the same whatever follows. True of
        byte-level tokenizers (GPT-2's kind), with Unicode's NFC or no normalizer; others get the long way.
        """
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None or backend.pre_tokenizer is None:
            return False
        rules = _rules(backend)
        if rules["normalizer"] not in (None, {"type": "NFC"}):
            return False
        rules = rules["pre_tokenizer"]
        parts = rules["pretokenizers"] if rules["type"] == "Sequence" else [rules]
        return all(
            (part["type"] == "ByteLevel" and not part["add_prefix_space"])
            or (part["type"] == "Split" and not any(sign in str(part["pattern"]) for sign in ("(?<", "(?=")))
            or part["type"] == "Digits"
            for part in parts
        )


@dataclass(frozen=True)
class _Encoded:
    """Tokens of a text, and where its last two words start.

    Attributes:
        tokens: token ids.
        token: first token of the last two words; 0 where there is no seam.
        char: its first character.
    """

    tokens: Tokens
    token: int
    char: int


def _rules(backend: Any) -> dict[str, Any]:
    """How a tokenizer cuts texts, without its vocabulary."""
    bare = Tokenizer(BPE())
    if backend.normalizer is not None:
        bare.normalizer = backend.normalizer
    bare.pre_tokenizer = backend.pre_tokenizer
    return json.loads(bare.to_str())


def _seam(text: str, encoding: Any) -> tuple[int, int]:
    """First token of the last two words of an encoding, and its first character.

    Some tokenizers leave the space before a word out of its token's place in the text, and a normalizer
    may join an accent to the letter before it: the seam is put between ASCII characters, behind no space.
    """
    if encoding is None:
        return 0, 0
    words, offsets = encoding.word_ids, encoding.offsets
    last: set[int | None] = set()
    for at in range(len(words) - 1, -1, -1):
        if words[at] is None:
            break
        char = offsets[at][1]
        around = text[char - 1 : char + 1]
        if words[at] not in last and len(last) >= 2 and around.isascii() and not around[0].isspace():
            return at + 1, char
        last.add(words[at])
    return 0, 0


def _move_spaces(context: str, target: str) -> tuple[str, str]:
    """Moves trailing whitespace of the context to the continuation."""
    stripped = context.rstrip()
    return (stripped, context[len(stripped) :] + target) if stripped else (context, target)
