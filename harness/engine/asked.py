"""A model of any kind that lm-eval knows, behind an interface or here, that is asked in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import get_model


class AskedModel:
    """Answers texts, each as the one turn of a chat where the model is one.

    Args:
        name: lm-eval's name of the kind of model (``local-chat-completions``, ``hf``, ...).
        settings: what it is opened with, as lm-eval's ``--model_args``.
        tokens: tokens that it may answer with; one that thinks first needs many.
        whose: what names it in errors, e.g. ``levels.judge``.

    Raises:
        ValueError: if lm-eval knows no such model or cannot open it with these settings.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], tokens: int, whose: str) -> None:
        self._tokens, self._whose = tokens, f"{whose}={name} with {dict(settings)}"
        try:
            self._lm = get_model(name).create_from_arg_obj(dict(settings))
        except Exception as error:
            raise ValueError(
                f"{whose}={name}: lm-eval cannot open it with {dict(settings)}: {error}. Models behind an API "
                "need pip install variant-harness[judge]"
            ) from error
        tokenizer = getattr(self._lm, "tokenizer", None)
        self._is_chat = name.endswith("chat-completions") or bool(getattr(tokenizer, "chat_template", None))

    def answers(self, texts: Sequence[str]) -> list[str]:
        """The likeliest answer to each text.

        Raises:
            ValueError: if it cannot be reached.
        """
        try:
            return asked(self._lm, texts, self._tokens, self._is_chat)
        except OSError as error:  # requests' errors are such
            raise ValueError(f"{self._whose} does not answer: {error}") from error


def asked(lm: LM, texts: Sequence[str], tokens: int, chat: bool) -> list[str]:
    """The likeliest answers of a backend of lm-eval.

    Args:
        lm: the backend.
        texts: what is asked.
        tokens: tokens of an answer.
        chat: each text is the one turn of a chat.
    """
    requests = []
    for number, text in enumerate(texts):
        given: Any = lm.apply_chat_template([{"role": "user", "content": text}]) if chat else text
        settings = {"max_gen_toks": tokens, "until": ["</s>"], "do_sample": False}
        requests.append(Instance("generate_until", {}, (given, settings), number))
    return lm.generate_until(requests) if requests else []
