"""Documents asked and graded outside a cell: as lm-eval's own evaluation grades them."""

import pytest
import torch
from test_load import lab

from harness.config.compose import compose_model, compose_run
from harness.engine import ResidentLM
from harness.evaluation.bench import Bench
from harness.evaluation.grid import plan_grid
from harness.models import ModelRef, load_base
from harness.tasks.examples import leaky_examples, training_examples
from harness.tasks.questions import requests_of, training_questions


@pytest.fixture(scope="module")
def lm():
    base = load_base(ModelRef("lab-base", compose_model("lab-base")[1].path, device="cpu"))
    return ResidentLM(base.model, base.tokenizer, 8)


@pytest.mark.parametrize("task", ["lab_gsm8k", "lab_math", "lab_solve", "lab_letters", "lab_arc", "lab_mmlu"])
def test_scores_are_those_of_an_evaluation(tmp_path, lm, task):
    """Every tested document of a few, in a cell of lm-eval's own backend and as examples."""
    made = Bench(plan_grid(compose_run([f"results.dir='{tmp_path}'", "limit=4", f"tasks=[{task}]", "engine=hf"])))
    cell = made.evaluate(made.grid.cells[0]).result
    outcomes = [o for o in made.store.outcomes(cell.name) if o.filter == cell.filter]
    expected = {(o.subtask, o.doc_id): o.metrics[cell.metric] for o in outcomes}
    loaded = lab(task)
    examples = leaky_examples(loaded, None, seed=0)
    chosen = [d for d in examples.documents if (d.requests[0].task_name, d.requests[0].doc_id) in expected]
    found = type(examples)(chosen, examples.metric).scored(lm)
    assert len(chosen) == len(expected) >= 4
    for document, scored in zip(chosen, found, strict=True):
        key = document.requests[0].task_name, document.requests[0].doc_id
        assert scored.score == pytest.approx(expected[key])


def test_the_likelihood_is_that_of_the_right_answer(lm):
    for task in ("lab_arc", "lab_letters"):
        examples = training_examples(lab(task), 6, seed=1)
        for document, scored in zip(examples.documents, examples.scored(lm), strict=True):
            doc = document.doc
            letter = doc["answerKey"]
            answer = letter if task == "lab_letters" else doc["choices"]["text"]["ABCD".index(letter)]
            prompt = document.requests[0].args[0]
            ids = torch.tensor([lm.tok_encode(f"{prompt} {answer}")])
            logs = lm.model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
            assert scored.likelihood == pytest.approx(float(logs[len(lm.tok_encode(prompt)) - 1 :].sum()), abs=1e-3)


def test_the_digest_knows_the_metric_and_not_the_memory():
    from PIL import Image

    from harness.data import rows_digest

    loaded = lab("lab_gsm8k")
    one = training_examples(loaded, 3, seed=0)
    assert type(one)(one.documents, "exact_match,other").digest != one.digest
    pictures = [Image.new("RGB", (2, 2), (9, 9, shade)) for shade in (1, 1, 2)]
    digests = [rows_digest([[{"visual": [picture]}]]) for picture in pictures]
    assert digests[0] == digests[1] != digests[2]


def test_programs_have_no_likelihood(lm):
    assert all(s.likelihood == 0.0 for s in training_examples(lab("lab_solve"), 2, seed=0).scored(lm))


def test_the_draw_is_seeded_and_parts_are_parts():
    one, two = (training_examples(lab("lab_gsm8k"), 20, seed=3) for _ in range(2))
    assert one.digest == two.digest != training_examples(lab("lab_gsm8k"), 20, seed=4).digest
    assert len(one) == 20
    first, rest = one.part(0, 5), one.part(5, 20)
    assert [d.doc for d in (*first.documents, *rest.documents)] == [d.doc for d in one.documents]


def test_no_test_document_is_drawn_for_training():
    loaded = lab("lab_mmlu")
    tested = {str(d) for task in loaded.subtasks.values() for d in task.eval_docs}
    for task in loaded.subtasks.values():
        task.config.training_split = "train"
    drawn = training_examples(loaded, None, seed=0)
    assert len(drawn) > 1000
    assert not tested & {str(d.doc) for d in drawn.documents}


def test_a_document_is_never_among_its_own_shots():
    """lm-eval draws shots from the training split without looking at the document."""
    loaded = lab("lab_gsm8k", num_fewshot=3)
    (task,) = loaded.subtasks.values()
    first = [doc for _, doc in zip(range(5), task.training_docs(), strict=False)]
    task.sampler.df = first  # so small that each of them would be a shot of itself
    for number, doc in enumerate(first):
        (request,) = requests_of(task, "lab_gsm8k", number, doc, None)
        assert request.args[0].count(doc["question"]) == 1
        assert request.args[0].count("Question:") == 4
    assert task.sampler.sample.__qualname__.startswith("ContextSampler")


def test_a_chat_is_rendered_where_the_run_asks_for_it():
    chat = lambda history, **_: "".join(f"<{m['role']}>{m['content']}</>" for m in history) + "<assistant>"  # noqa: E731
    (question,) = training_questions(lab("lab_gsm8k"), 1, chat)
    assert question.prompt.startswith("<user>Question: ")
    assert question.prompt.endswith("</><assistant>")
    assert question.text == question.prompt.removeprefix("<user>").removesuffix("</><assistant>")


def test_answers_to_learn():
    (question,) = training_questions(lab("lab_letters"), 1)
    assert question.target == f" {question._doc['answerKey']}"
    (program,) = training_questions(lab("lab_solve"), 1)
    with pytest.raises(ValueError, match="gives tests and no answer to learn"):
        _ = program.target
