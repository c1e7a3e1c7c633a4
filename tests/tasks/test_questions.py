"""Training documents as graded questions."""

import pytest
from test_load import lab

from harness.tasks.questions import training_questions


def test_gold_answers_are_right_and_others_wrong():
    questions = training_questions(lab("lab_gsm8k"), limit=30)
    assert len(questions) == 30
    for q in questions:
        gold = q._doc["answer"]
        assert q.prompt.startswith("Question: ")
        assert q.grade(gold) == 1
        assert q.grade(gold + "1") == -1
        assert q.grade("") == -1
    assert questions[0].settings["max_gen_toks"] == 96
    assert len({q.name for q in questions}) == 30


def test_mathematics_is_graded_as_the_task_does():
    q = training_questions(lab("lab_math"), limit=1)[0]
    assert q.grade(q._doc["solution"]) == 1
    assert q.grade(r"It is $\boxed{-12345}$.") == -1


def test_grading_one_answer_leaves_the_next_alone():
    one, two = training_questions(lab("lab_gsm8k"), limit=2)
    assert one.grade(one._doc["answer"]) == 1
    assert two.grade(one._doc["answer"]) == -1 or one._doc["answer"].split()[-1] == two._doc["answer"].split()[-1]
    assert one.grade(one._doc["answer"]) == 1


def test_no_test_document_is_learned_from():
    loaded = lab("lab_gsm8k")
    (task,) = loaded.subtasks.values()
    tested = {task.doc_to_text(doc) for doc in task.eval_docs}
    assert not tested & {q.prompt for q in training_questions(loaded)}
    task.config.training_split = "test"
    with pytest.raises(ValueError, match="all training documents of lab_gsm8k are test documents too"):
        training_questions(loaded)


def test_a_training_document_that_is_tested_too_is_left_out(caplog):
    """ARC-Easy has one."""
    loaded = lab("lab_gsm8k")
    (task,) = loaded.subtasks.values()
    rows = task.dataset["train"].to_list()[:5]
    rows[2] = task.dataset["test"][7]
    task.dataset._splits["train"] = type(task.dataset["train"]).from_list(rows)
    assert [q.name.rpartition("/")[2] for q in training_questions(loaded)] == ["0", "1", "3", "4"]
    assert [q.name.rpartition("/")[2] for q in training_questions(loaded, limit=3)] == ["0", "1", "3"]
    assert "1 training documents are test documents too" in caplog.text


def test_a_split_may_be_named():
    assert len(training_questions(lab("lab_humaneval"))) == 2000


def test_no_training_documents():
    with pytest.raises(ValueError, match="lab_humaneval has no training documents"):
        training_questions(lab("lab_humaneval", training_split=None))


@pytest.mark.parametrize(
    ("name", "text"),
    [("lab_arc", "generates no answers to learn from"), ("ioi", "generates no answers")],
)
def test_tasks_that_nothing_can_be_learned_from(name, text):
    with pytest.raises(ValueError, match=text):
        training_questions(lab(name))
