"""What a teacher is asked about a training item, and how its answer is read (LoRA-PAR, step 1)."""

from __future__ import annotations

import re
from typing import Literal

System = Literal["system1", "system2"]
SYSTEMS: tuple[System, System] = ("system1", "system2")

_ROLE = "Act as {role} — concise, efficient, and reasoning step by step like it would. "
_CRITERIA = (
    "Given a task or question and its answer, decide whether it belongs to 'System1' or 'System2' based on the "
    "following criteria: 1. System1 tasks rely on immediate recall, straightforward reading comprehension, or simple "
    "inferences that do not require multi-step reasoning. 2. System2 tasks require multi-step logical reasoning, "
    "chaining information, or complex inferential processes."
)
_ITEM = "\n\nQuestion:\n{question}\n\nAnswer:\n{answer}\n\nReply with System1 or System2 alone."
_THOUGHT = re.compile(r"(?s).*</think>")
_NAMED = re.compile(r"\bsystem[\s_-]*([12])\b", re.IGNORECASE)


def prompt_of(question: str, answer: str, role: str | None) -> str:
    """The paper's prompt with an item behind it.

    Args:
        question: what is asked.
        answer: its answer.
        role: the model that the teacher plays; None leaves the role-play out.
    """
    head = "" if role is None else _ROLE.format(role=role)
    return head + _CRITERIA + _ITEM.format(question=question.strip(), answer=answer.strip())


def read(text: str) -> System | None:
    r"""The system that a teacher's answer names, or None.

    What it thought before counts for nothing. Of the lines that name a system the last decides, unless it names both.

    >>> read("System1 would be recall. This needs steps.\nAnswer: System 2")
    'system2'
    >>> read("It is System1 or System2.") is None
    True
    """
    said = _THOUGHT.sub("", text)
    if "<think>" in said:  # it was cut off while it thought
        return None
    lines = [set(_NAMED.findall(line)) for line in said.splitlines()]
    named = [kinds for kinds in lines if kinds]
    if not named or len(named[-1]) > 1:
        return None
    return SYSTEMS[int(named[-1].pop()) - 1]
