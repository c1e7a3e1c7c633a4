import math

import pytest

from harness.config.compose import compose_task
from harness.config.schema import TaskConfig
from harness.data import DataSource, MissingDataError
from harness.sandbox import Execution
from harness.tasks.load import load_task


class Box:
    """A sandbox that trusts everybody; for programs written in this file."""

    name = "exec"

    def run(self, program, tests=""):
        try:
            exec(f"{program}\n{tests}", {})
        except Exception as error:
            return Execution("failed", 1, str(error), 0.0)
        return Execution("passed", 0, "", 0.0)


def lab(name, **settings):
    return load_task(name, compose_task(name, settings)[0], DataSource(), Box())


@pytest.mark.parametrize("name", ["lab_gsm8k", "lab_math", "lab_humaneval", "lab_arc", "lab_mmlu", "ioi"])
class TestLabTasks:
    def test_gold_answers_score_one(self, name):
        """Every document's own answer is right under the task's own filters and metrics."""
        loaded = lab(name)
        metric, _, _ = loaded.config.metric.partition(",")
        for task in loaded.subtasks.values():
            for doc in task.eval_docs.select(range(5)):
                if task.OUTPUT_TYPE == "multiple_choice":
                    gold = task.doc_to_target(doc)
                    answers = [(0.0 if i == gold else -9.0, False) for i in range(len(task.doc_to_choice(doc)))]
                    scores = task.process_results(doc, answers)
                elif name == "lab_humaneval":
                    scores = task.process_results(doc, [[doc["prompt"] + doc["canonical_solution"]]])
                elif name == "lab_math":
                    scores = task.process_results(doc, [doc["solution"]])
                else:
                    task.build_all_requests(limit=1)
                    scores = task.process_results(doc, [doc["answer"].split("#### ")[1]])
                assert scores[metric] == 1, (doc, scores)

    def test_has_two_hundred_documents_at_least(self, name):
        assert sum(len(t.eval_docs) for t in lab(name).subtasks.values()) >= 200


def test_wrong_programs_fail():
    (task,) = lab("lab_humaneval").subtasks.values()
    doc = task.eval_docs[0]
    for body in ("    return None\n", "    return 1 +\n", ""):
        assert task.process_results(doc, [[doc["prompt"] + body]]) == {"pass@1": 0.0}


def test_pass_at_k_of_several_samples():
    (task,) = lab("lab_humaneval", repeats=4, pass_k=[1, 2]).subtasks.values()
    doc = task.eval_docs[0]
    good, bad = doc["prompt"] + doc["canonical_solution"], doc["prompt"] + "    return None\n"
    scores = task.process_results(doc, [[good, bad, bad, bad]])
    assert scores == {"pass@1": pytest.approx(0.25), "pass@2": pytest.approx(0.5)}
    with pytest.raises(ValueError, match=r"pass_k \[1, 2\] needs repeats of at least 2"):
        lab("lab_humaneval", pass_k=[1, 2])


def test_math_is_graded_twice():
    (task,) = lab("lab_math").subtasks.values()
    doc = {**task.eval_docs[0], "answer": "12", "solution": r"$\boxed{12}$"}
    assert task.process_results(doc, [r"The answer is $\boxed{12}$."]) == {"exact_match": 1.0, "math_verify": 1.0}
    assert task.process_results(doc, [r"The answer is $\boxed{12.0}$."]) == {"exact_match": 0.0, "math_verify": 1.0}
    assert task.process_results(doc, [r"The answer is $\boxed{3}$, not 12"]) == {"exact_match": 0.0, "math_verify": 0.0}


@pytest.mark.parametrize(
    "answer", [r"\boxed is 12", r"\fbox{12", r"\fbox{9}", r"\boxed", r"\boxed{9", r"\boxed 9", r"\boxed{}"]
)
def test_boxes_that_no_model_should_write_are_wrong_and_no_error(answer):
    (task,) = lab("lab_math").subtasks.values()
    doc = {**task.eval_docs[0], "answer": "12", "solution": r"$\boxed{12}$"}
    assert task.process_results(doc, [answer])["exact_match"] == 0


def test_ioi_scores_the_pair():
    (task,) = lab("ioi").subtasks.values()
    scores = task.process_results(task.eval_docs[0], [(math.log(0.6), False), (math.log(0.2), False)])
    assert scores == {"acc": 1.0, "logit_diff": pytest.approx(math.log(3))}


def test_shots_stay_the_same_when_a_task_is_used_again():
    loaded = lab("lab_gsm8k", num_fewshot=3)
    (task,) = loaded.subtasks.values()

    def prompts():
        task.build_all_requests(limit=4)
        return [i.args[0] for i in task.instances]

    loaded.reseed(7)
    first = prompts()
    task.instances[0].resps.append("an answer of the first variant")
    loaded.reseed(7)
    assert prompts() == first
    assert prompts() == first, "drawn on without a new seed"
    assert [i.resps for i in task.instances] == [[]] * 4
    loaded.reseed(8)
    assert prompts() != first
    loaded.reseed(7)
    assert prompts() == first


def test_groups_and_clusters_of_mmlu(data_root):
    loaded = load_task("mmlu", compose_task("mmlu", {})[0], DataSource("mirror", data_root / "mirror"), None)
    assert len(loaded.subtasks) == 57
    assert sorted(loaded.groups) == ["humanities", "other", "social_sciences", "stem"]
    assert sorted(n for names in loaded.groups.values() for n in names) == sorted(loaded.subtasks)
    assert sum(len(t.eval_docs) for t in loaded.subtasks.values()) == 14042


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            TaskConfig(lm_eval="gsm9k", folder="gsm8k", metric="x"),
            r"no task, group or tag 'gsm9k' there; it has: .*gsm8k",
        ),
        (TaskConfig(lm_eval="gsm8k", folder="gsm9k", metric="x"), r"folder 'gsm9k' is neither"),
        (TaskConfig(lm_eval="gsm8k", folder="gsm8k", metric="x", scorer="magic"), r"unknown scorer 'magic'; known"),
    ],
)
def test_mistakes_name_what_is_valid(config, text):
    with pytest.raises(ValueError, match=text):
        load_task("t", config, DataSource(), None)


def test_missing_split_names_the_task(tmp_path):
    with pytest.raises(MissingDataError, match=r"task gsm8k: split 'train' of data set 'openai/gsm8k' \(name 'main'\)"):
        load_task("gsm8k", compose_task("gsm8k", {})[0], DataSource("mirror", tmp_path), None)
