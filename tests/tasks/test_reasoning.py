"""AIME, MATH-500 and GPQA as the experiments ask them, on made rows of the hub's columns."""

import json
import random

import pytest

from harness.config.compose import compose_task
from harness.data import DataSource
from harness.tasks.load import load_task

AIME = [{"ID": "2024-I-1", "Problem": "What is 102 + 102?", "Solution": "Add them: 204.", "Answer": 204}]
MATH = [
    {"problem": "What is $1/2$?", "solution": "It is $\\boxed{\\frac12}$.", "answer": "\\frac12", "subject": "Algebra"}
]
GPQA = [
    {
        "Question": f"Which one is right, {i}?",
        "Correct Answer": "right\n",
        "Incorrect Answer 1": "wrong 1",
        "Incorrect Answer 2": "wrong 2",
        "Incorrect Answer 3": "wrong 3",
    }
    for i in range(12)
]
FILES = {
    "Maxwell-Jia/AIME_2024/default/train": AIME,
    "HuggingFaceH4/MATH-500/default/test": MATH,
    "Idavidrein/gpqa/gpqa_diamond/train": GPQA,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("mirror")
    for name, rows in FILES.items():
        path = root / f"{name}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(map(json.dumps, rows)))
    return DataSource("mirror", root)


def task(name, source):
    return next(iter(load_task(name, compose_task(name, {})[0], source, None).subtasks.values()))


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("aime24", r"So it is $\boxed{204}$.", r"So it is $\boxed{1204}$, not 204."),
        ("math500_boxed", r"Thus $\boxed{0.5}$.", r"Thus $\boxed{2}$."),
    ],
)
def test_answers_in_boxes_are_graded(source, name, right, wrong):
    loaded = task(name, source)
    doc = loaded.eval_docs[0]
    assert loaded.process_results(doc, [right])["math_verify"] == 1
    assert loaded.process_results(doc, [wrong])["math_verify"] == 0
    prompt = loaded.doc_to_text(doc)
    assert prompt.endswith("\n\nPlease reason step by step, and put your final answer within \\boxed{}.")


def test_choices_keep_their_order_and_their_letter(source):
    orders = []
    for seed in (1, 2):
        random.seed(seed)
        docs = task("gpqa_diamond", source).eval_docs
        orders.append([(d["choices"], d["answer"]) for d in docs])
    assert orders[0] == orders[1]
    letters = [letter for _, letter in orders[0]]
    assert len(set(letters)) > 1
    for choices, letter in orders[0]:
        assert f"({letter}) right" in choices.splitlines()


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        (r"Therefore \boxed{%s}.", 1),
        (r"First \boxed{Z}, then \boxed{(%s)}.", 1),
        (r"\boxed{\text{%s}}", 1),
        ("The answer is %s.", 0),
        (r"\boxed{%sbc}", 0),
    ],
)
def test_the_letter_in_the_last_box_counts(source, answer, score):
    loaded = task("gpqa_diamond", source)
    doc = loaded.eval_docs[0]
    loaded.build_all_requests(limit=1, rank=0, world_size=1)
    request = loaded.instances[0]
    request.resps = [answer % doc["answer"]]
    loaded.apply_filters()
    result = loaded.process_results(doc, [request.filtered_resps["boxed"]])
    assert result["exact_match"] == score
