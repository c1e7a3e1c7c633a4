"""What LoRA-PAR learns from, out of real tasks and out of data sets."""

import pytest
from transformers import AutoTokenizer

from harness.config.compose import compose_model
from harness.config.par import LoraParVariant
from harness.config.training import TextsConfig
from harness.data import DataSource
from harness.tasks.documents import Documents
from harness.variants import Context
from harness.variants.items import held_back, items_of


def of(source, **changes):
    documents = Documents(source, lambda: pytest.fail("no programs here"))
    context = Context(lambda name: None, source, questions=documents.questions)
    return items_of(LoraParVariant(**changes), context)


def test_real_problems_are_asked_without_shots_and_fit(data_root):
    """With the task's five shots no problem would fit the 512 tokens of the paper's training."""
    tokenizer = AutoTokenizer.from_pretrained(compose_model("lab-base")[1].path)
    source = DataSource("mirror", data_root / "mirror")
    items = of(source, tasks=["gsm8k"], questions=20)
    assert all(item.prompt.count("Question:") == 1 for item in items)
    assert all("####" in item.target and item.truth is None for item in items)
    lengths = [len(tokenizer(item.prompt)["input_ids"]) for item in items]
    shots = of(source, tasks=["gsm8k"], questions=20, task_settings={"num_fewshot": 5})
    assert max(lengths) < min(len(tokenizer(item.prompt)["input_ids"]) for item in shots) / 2


def test_the_lab_says_what_each_needs():
    items = of(DataSource(), tasks=["lab_letters", "lab_worked", "lab_math"], questions=30)
    assert len({item.name for item in items}) == len(items) == 90
    assert {item.truth for item in items if "letters" in item.name} == {"system1"}
    assert {item.truth for item in items} == {"system1", "system2"}
    assert all("\n" not in item.target for item in items)  # where these tasks end an answer


def test_texts_are_right_if_they_are_written_word_by_word():
    texts = TextsConfig(path="harness/lab", name="letters", prompt="prompt", completion=" {answerKey}", limit=5)
    items = of(DataSource(), texts=texts)
    for item in items:
        assert item.grade(item.target) == item.grade(item.target.strip()) == 1.0
        assert item.grade("E") == -1.0


def test_what_is_held_back_is_drawn_and_apart():
    items = of(DataSource(), tasks=["lab_letters"], questions=50)
    learned, apart = held_back(items, 10, 0)
    assert (len(learned), len(apart)) == (40, 10)
    assert not {i.name for i in learned} & {i.name for i in apart}
    assert held_back(items, 10, 0)[1] == apart != held_back(items, 10, 1)[1]
