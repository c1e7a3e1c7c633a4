"""The lab's texts: right by construction, and never shared between training and tests."""

import random
import re
from itertools import islice, pairwise

import pytest

from harness.lab import corpus, datasets, facts, problems, programs, sentences, symbolic


def test_worked_steps_are_true():
    """Every equation in every worked answer holds, by Python's own arithmetic."""
    rng = random.Random(0)
    for item in [*(problems.sample(rng) for _ in range(500)), *(symbolic.sample(rng) for _ in range(500))]:
        equations = re.findall(r"([\d+\-*/]+)=(\d+)", item.steps)
        assert equations
        for left, right in equations:
            # the code under test never evaluates these strings
            assert eval(re.sub(r"\b0+(\d)", r"\1", left)) == int(right), item
        assert str(item.answer) in item.worked
        for left, right in re.findall(r"(\d+[+\-*]\d+): .*? so (\d+)\.", item.steps):
            assert eval(left) == int(right)


def test_word_problems_ask_what_they_answer():
    rng = random.Random(1)
    for kind, sample in problems.KINDS.items():
        for _ in range(50):
            item = sample(rng)
            numbers = list(map(int, re.findall(r"\d+", item.question)))
            expected = {
                "sub3": lambda n: n[0] - n[1],
                "mul": lambda n: n[0] * n[1],
                "two_step": lambda n: n[0] + n[1] - n[2],
            }.get(kind, sum)(numbers)
            assert item.answer == expected
            assert item.answer >= 0


def test_programs_pass_their_own_tests_and_their_neighbours_fail():
    rng = random.Random(2)
    items = [programs.sample(rng) for _ in range(200)]
    for item, other in pairwise(items):
        space: dict = {}
        exec(item.prompt + item.body + item.test, space)
        space["check"](space[item.entry_point])
        if item.family != other.family:
            space = {}
            with pytest.raises(Exception):  # noqa: B017 - a wrong body may fail in any way
                exec(item.prompt + other.body + item.test + f"check({item.entry_point})", space)


def test_ioi_is_balanced_and_right():
    rng = random.Random(3)
    items = [sentences.ioi(rng) for _ in range(600)]
    orders = [i.template.split("-")[0] for i in items]
    assert 240 < orders.count("ABBA") < 360
    for item in items:
        io, s = item.right.strip(), item.wrong.strip()
        words = re.findall(r"[A-Za-z]+", item.prompt)
        assert (words.count(io), words.count(s)) == (1, 2)
        first = words.index(io) < words.index(s)
        assert first == item.template.startswith("ABBA")


def test_agreement_and_pronouns_and_years():
    rng = random.Random(4)
    for _ in range(100):
        item = sentences.agreement(rng)
        subject = item.prompt.split()[1]
        assert (item.right.strip() in ("are", "were", "have")) == subject.endswith("s")
        item = sentences.greater_than(rng)
        assert int(item.right) > int(item.prompt.split(" to the year")[0][-2:]) > int(item.wrong)


def test_world_is_the_same_everywhere():
    world = facts.world()
    assert len(world) == 5 * 2 * 44
    assert len({f.question for f in world}) == len(world)
    assert world[0].statement == "The city of Boumath lies in the land of Keltar." or world[0].subject == "geography"


@pytest.mark.parametrize("name", datasets.names())
def test_training_text_and_tests_never_share_a_document(name):
    """What a test shows is searched in a long stretch of both training streams."""
    rows = datasets.rows(name, "test")
    source = {"gsm8k": "problem", "math": "symbolic", "humaneval": "program"}.get(
        name, name.split("_")[0] if name.startswith("mmlu") else name
    )
    shown = {_prompt(name, row) for row in rows}
    assert len(shown) == len(rows) or name == "induction"
    for mixture in ("base", "reasoner"):
        for text in islice(corpus.stream(5, mixture), 20_000):
            if text.source == source:
                assert text.prompt not in shown
                assert corpus.split_of(source, text.key) == "train"


def _prompt(name, row):
    if name == "gsm8k":
        return f"Question: {row['question']}\nAnswer:"
    if name == "math":
        return f"Problem:\n{row['problem']}\n\nSolution:"
    if name == "arc":
        return f"Question: {row['question']}\nAnswer:"
    if name.startswith("mmlu"):
        choices = facts.Choice(
            next(f for f in facts.world() if f.question == row["question"]), tuple(row["choices"]), row["answer"]
        )
        return choices.mmlu_prompt
    return row["prompt"]


@pytest.mark.parametrize("name", datasets.names())
def test_train_and_test_rows_are_apart_and_fixed(name):
    train, test = datasets.rows(name, "train"), datasets.rows(name, "test")
    assert not {_prompt(name, r) for r in train} & {_prompt(name, r) for r in test}
    assert datasets.rows(name, "test") == test
    assert len(train) >= len(test) > 10


def test_held_out_facts_are_stated_in_the_training_text():
    held_out = {r["question"] for r in datasets.rows("arc", "test")}
    stated = {t.completion for t in islice(corpus.stream(0, "base"), 60_000) if t.source == "statement"}
    asked = [f for f in facts.world() if f.question in held_out]
    assert len(asked) >= 200
    assert all(f.statement in stated for f in asked)


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match=r"no data set 'nothing'; known: gsm8k"):
        datasets.rows("nothing", "test")
    with pytest.raises(ValueError, match="splits test, train"):
        datasets.rows("gsm8k", "dev")
