"""A judge model, opened through lm-eval, that is asked for the level."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.stethoscope.levels.features import Asked

QUESTION = """You judge the answer of a language model. Choose one level.
I: not language: random or repeated tokens, no sentences or formulas of any kind.
II: language, but not about the task it was given.
III: about the task it was given, whether or not it is right.

The task:
<task>
{prompt}
</task>

The answer:
<answer>
{answer}
</answer>

Answer with the level alone: I, II or III."""
_NAMED = re.compile(r"\blevel\W{0,4}(?-i:(I{1,3}))\b", re.IGNORECASE)
_FIRST = re.compile(r"\W*(I{1,3})\W*(?:$|[:.,)\n])")
_PLAIN = re.compile(r"\b(I{2,3})\b")


class AskedJudge:
    """Asks a model for the level of answers that are not right.

    Args:
        name: lm-eval's name of the kind of model (``local-chat-completions``, ``hf``, ...).
        settings: what it is opened with, as lm-eval's ``--model_args``.
        tokens: tokens that it may answer with; one that thinks first needs many.

    Raises:
        ValueError: if lm-eval knows no such model or cannot open it with these settings.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], tokens: int = 64) -> None:
        # Torch and transformers come with it, which who only reads levels does not need.
        from harness.engine import AskedModel

        self._model = AskedModel(name, settings, tokens, "levels.judge")

    def judge(self, asked: Sequence[Asked]) -> list[int | None]:
        """Levels 1 to 3, or None where the model's answer names none."""
        texts = [
            QUESTION.format(prompt=item.prompt, answer=item.text.replace("</answer>", "< /answer>")) for item in asked
        ]
        return [level_in(answer) for answer in self._model.answers(texts)]


def level_in(answer: str | None) -> int | None:
    """The level that a judge's answer names: the last after the word, else at its start, else the last II or III.

    A lone ``I`` inside a sentence is a pronoun.
    """
    text = answer or ""
    if named := _NAMED.findall(text):
        return len(named[-1])
    if first := _FIRST.match(text):
        return len(first.group(1))
    plain = _PLAIN.findall(text)
    return len(plain[-1]) if plain else None
