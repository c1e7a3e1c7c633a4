"""The lab's data sets, as rows with the columns of the benchmarks whose form they have.

Rows of split ``test`` are never in the training text; rows of ``train`` are on its side of the
split. Both are drawn from fixed seeds, without repeats.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

from harness.lab import corpus, facts, problems, programs, sentences, symbolic

PATH = "harness/lab"
SIZES = {"test": 300, "train": 2000}
WORKED = "worked"  # texts to train on; it has no tests
WORKED_SEED = 7
SOLVED = "gsm8k_worked"  # word problems with the steps that lab-reasoner learned
ANONYMOUS = "solve"


def _problem_row(item: problems.WordProblem) -> dict[str, Any]:
    """GSM8K's columns, and the kind of problem."""
    return {"question": item.question, "answer": f"{item.steps}\n#### {item.answer}", "kind": item.kind}


def _symbolic_row(item: symbolic.SymbolicProblem) -> dict[str, Any]:
    """MATH's columns; ``answer`` is what its preparation would extract."""
    return {
        "problem": item.problem,
        "level": f"Level {item.level}",
        "type": item.type,
        "solution": item.worked.strip(),
        "answer": str(item.answer),
    }


def _program_row(item: programs.Program) -> dict[str, Any]:
    """HumanEval's columns, and the family."""
    return {
        "task_id": f"lab/{item.entry_point}",
        "prompt": item.prompt,
        "canonical_solution": item.body,
        "test": item.test,
        "entry_point": item.entry_point,
        "family": item.family,
    }


def _solve_row(item: programs.Program) -> dict[str, Any]:
    """The same under a name that says nothing: what the function does stands in its docstring only."""
    row = _program_row(item)
    prompt = item.prompt.replace(f"def {item.entry_point}(", f"def {ANONYMOUS}(", 1)
    return {**row, "prompt": prompt, "entry_point": ANONYMOUS}


def _worked_row(item: problems.WordProblem) -> dict[str, Any]:
    return {"prompt": item.prompt, "completion": item.worked, "kind": item.kind}


def _arc_row(item: facts.Choice) -> dict[str, Any]:
    """ARC's columns, and the subject."""
    return {
        "question": item.fact.question,
        "choices": {"text": list(item.choices), "label": list(facts.LETTERS)},
        "answerKey": facts.LETTERS[item.gold],
        "subject": item.fact.subject,
    }


def _mmlu_row(item: facts.Choice) -> dict[str, Any]:
    """MMLU's columns."""
    return {
        "question": item.fact.question,
        "subject": item.fact.subject,
        "choices": list(item.choices),
        "answer": item.gold,
    }


def _letter_row(item: facts.Choice) -> dict[str, Any]:
    """ARC's columns; asked as MMLU asks, with a letter for an answer."""
    return {**_arc_row(item), "prompt": item.mmlu_prompt}


def _sentence_row(item: sentences.Sentence) -> dict[str, Any]:
    return {"prompt": item.prompt, "right": item.right, "wrong": item.wrong, "template": item.template}


def _source(
    name: str,
) -> tuple[str, Callable[[random.Random], Any], Callable[[Any], str], Callable[[Any], dict[str, Any]]]:
    """For a data set: its training source, its sampler, its key and its row."""
    if name == "gsm8k":
        return "problem", problems.sample, lambda x: x.prompt, _problem_row
    if name == "math":
        return "symbolic", symbolic.sample, lambda x: x.prompt, _symbolic_row
    if name == "humaneval":
        return "program", programs.sample, lambda x: x.prompt, _program_row
    if name == ANONYMOUS:
        return "program", programs.sample, lambda x: x.prompt, _solve_row
    if name == SOLVED:
        return "problem", problems.sample, lambda x: x.prompt, _worked_row
    if name == "letters":
        return "mmlu", facts.sample_choice, lambda x: x.mmlu_prompt, _letter_row
    if name == "arc":
        return "arc", facts.sample_choice, lambda x: x.arc_prompt, _arc_row
    if name.startswith("mmlu_") and (subject := name.removeprefix("mmlu_")) in facts.SUBJECTS:
        known = [f for f in facts.world() if f.subject == subject]
        return "mmlu", lambda r: facts.sample_choice(r, r.choice(known)), lambda x: x.mmlu_prompt, _mmlu_row
    if name in sentences.TASKS:
        return name, sentences.TASKS[name], lambda x: x.key, _sentence_row
    raise ValueError(f"the lab has no data set {name!r}; known: {', '.join([*names(), SOLVED, WORKED])}")


def names() -> list[str]:
    """Names of all lab data sets."""
    return [
        "gsm8k",
        "math",
        "humaneval",
        ANONYMOUS,
        "arc",
        "letters",
        *(f"mmlu_{s}" for s in facts.SUBJECTS),
        *sentences.TASKS,
    ]


def size(name: str, split: str) -> int:
    """Rows aimed at: MMLU's subjects are a fifth each."""
    return SIZES[split] // (len(facts.SUBJECTS) if name.startswith("mmlu_") else 1)


@cache
def _rows(name: str, split: str) -> tuple[dict[str, Any], ...]:
    source, sample, key, row = _source(name)
    rng = random.Random(f"{name}-{split}")
    found: dict[str, dict[str, Any]] = {}
    misses = 0
    # Small sets (pronouns, questions about facts) run out of different keys before the size is met.
    while len(found) < size(name, split) and misses < 20_000:
        item = sample(rng)
        if corpus.split_of(source, key(item)) == split and key(item) not in found:
            found[key(item)] = row(item)
            misses = 0
        else:
            misses += 1
    return tuple(found.values())


@cache
def _worked() -> tuple[dict[str, Any], ...]:
    """What lab-reasoner was trained on: prompts with their answers worked out, each prompt once."""
    found: dict[str, dict[str, Any]] = {}
    for text in corpus.stream(WORKED_SEED, "reasoner"):
        found.setdefault(text.key, {"prompt": text.prompt, "completion": text.completion, "source": text.source})
        if len(found) == SIZES["train"]:
            break
    return tuple(found.values())


def rows(name: str, split: str) -> list[dict[str, Any]]:
    """The rows of one split.

    Raises:
        ValueError: for an unknown data set or split.
    """
    if name == WORKED and split == "train":
        return [dict(row) for row in _worked()]
    if split not in SIZES:
        raise ValueError(f"lab data sets have the splits {', '.join(SIZES)}, not {split!r}")
    return [dict(row) for row in _rows(name, split)]
