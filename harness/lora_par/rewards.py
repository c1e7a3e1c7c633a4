"""What an answer is worth in LoRA-PAR's second stage: correctness and form, up to 4 in all.

The form is ``<reasoning>``, a line or more, ``</reasoning>``, ``<answer>``, the answer, ``</answer>``. The sum of the
released code: 2 for the right answer, 0.5 if it is a whole number, 0.5 for the form line by line, 0.5 for the form with
any spacing, and up to 0.5 for single tags. There ``.`` stops at a line's end, so reasoning of several lines never had
the strict form; here it may.
"""

from __future__ import annotations

import re

INSTRUCTION = (
    "Respond in the following format:\n<reasoning>\n...\n</reasoning>\n<answer>\n...\n</answer>\n\n"  # the paper's own
)
_STRICT = re.compile(r"<reasoning>\n.*?\n</reasoning>\n<answer>\n.*?\n</answer>\n?", re.DOTALL)
_SOFT = re.compile(r"\s*<reasoning>.*?</reasoning>\s*<answer>.*?</answer>", re.DOTALL)
_FINAL = re.compile(r"####\s*(.+)")


def answer_in(text: str) -> str:
    """What stands between the last answer tags; the whole text without such."""
    return text.rpartition("<answer>")[2].partition("</answer>")[0].strip()


def gold_in(target: str) -> str:
    """A task's answer without its steps: what follows ``####``, or all of it."""
    found = _FINAL.findall(target)
    return (found[-1] if found else target).strip()


def single_tags(text: str) -> float:
    """0.125 for each tag that stands once at its place, less 0.001 for each character behind the last."""
    worth = 0.125 * sum(text.count(tag) == 1 for tag in ("<reasoning>\n", "\n</reasoning>\n"))
    for tag in ("\n<answer>\n", "\n</answer>"):
        if text.count(tag) == 1:
            behind = text.partition("\n</answer>")[2].removeprefix("\n") if "\n</answer>" in text else ""
            worth += 0.125 - 0.001 * len(behind)
    return worth


def paper_reward(text: str, target: str) -> float:
    r"""The sum of all parts; a little below 0 where much stands behind the answer.

    >>> paper_reward("<reasoning>\n2+3=5\n</reasoning>\n<answer>\n5\n</answer>\n", "2+3=5\n#### 5")
    4.0
    >>> paper_reward("5", "#### 5")
    2.5
    """
    answer = answer_in(text)
    worth = 2.0 * (answer == gold_in(target)) + 0.5 * answer.isdigit()
    worth += 0.5 * bool(_STRICT.fullmatch(text)) + 0.5 * bool(_SOFT.match(text))
    return worth + single_tags(text)
