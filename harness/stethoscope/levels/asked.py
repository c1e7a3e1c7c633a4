"""A judge model, opened through lm-eval, that is asked for the level."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

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
_LEVEL = re.compile(r"\b(I{1,3})\b")


class AskedJudge:
    """Asks a model for the level of answers that are not right.

    Args:
        name: lm-eval's name of the kind of model (``local-chat-completions``, ``hf``, ...).
        settings: what it is opened with, as lm-eval's ``--model_args``.
        prompts: document -> prompt.

    Raises:
        ValueError: if lm-eval knows no such model or cannot open it with these settings.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], prompts: Mapping[str, str]) -> None:
        self._name, self._prompts = name, prompts
        try:
            self._lm = get_model(name).create_from_arg_obj(dict(settings))
        except Exception as error:
            raise ValueError(
                f"levels.judge={name}: lm-eval cannot open it with {dict(settings)}: {error}. Models behind an API "
                "need pip install variant-harness[judge]"
            ) from error

    def judge(self, asked: Sequence[Asked]) -> list[int | None]:
        """Levels 1 to 3, or None where the model's answer names none."""
        requests = []
        for number, item in enumerate(asked):
            text: Any = QUESTION.format(prompt=self._prompts[item.document], answer=item.text)
            if self._name.endswith("chat-completions"):
                text = self._lm.apply_chat_template([{"role": "user", "content": text}])
            settings = {"max_gen_toks": 16, "until": ["\n\n"], "do_sample": False}
            requests.append(Instance("generate_until", {}, (text, settings), number))
        answers = self._lm.generate_until(requests, disable_tqdm=True) if requests else []
        return [level_in(answer) for answer in answers]


def level_in(answer: str | None) -> int | None:
    """The level that a judge's answer names first."""
    found = _LEVEL.search(answer or "")
    return len(found.group(1)) if found else None
