import collections
import json
import math
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.config.compose import compose_model
from harness.engine import EngineSettings, open_engine
from harness.evaluation.judged import JudgedExample
from harness.models import ModelRef, load_base
from harness.stethoscope.levels import (
    AskedJudge,
    Features,
    Reader,
    Thresholds,
    agreement,
    calibrate,
    confusion,
    halves,
    labelled_set,
    level_of,
)
from harness.stethoscope.levels.asked import level_in
from harness.stethoscope.levels.features import Asked, repetition
from harness.stethoscope.levels.labelled import Answer, shuffled
from harness.stethoscope.levels.rule import cut

LIMITS = Thresholds(fluency=-3.0, relevance=2.0, repetition=0.5, shortest=3.0)
GOOD = Features(tokens=10, fluency=-1.0, relevance=8.0, repetition=0.1)


@pytest.mark.parametrize(
    ("changes", "right", "level"),
    [
        ({}, False, 3),
        ({}, True, 4),
        ({"relevance": 1.9}, False, 2),
        ({"fluency": -3.1}, False, 1),
        ({"repetition": 0.6}, False, 1),
        ({"tokens": 2}, False, 1),
        ({"tokens": 0, "fluency": -math.inf, "relevance": -math.inf}, False, 1),
        # What the scorer calls right is right, however it was written.
        ({"fluency": -9.0, "repetition": 0.9}, True, 4),
        # Nonsense is not asked what it is about.
        ({"fluency": -3.1, "relevance": 0.0}, False, 1),
    ],
)
def test_rule(changes, right, level):
    assert level_of(Features(**{**vars(GOOD), **changes}), right, LIMITS) == level


values = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=12)


@given(values, values)
def test_cut_is_as_accurate_as_the_best_of_all_thresholds(above, below):
    def balanced(threshold):
        return sum(v >= threshold for v in above) / len(above) + sum(v < threshold for v in below) / len(below)

    if len({*above, *below}) == 1:
        return
    inner = [t / 2 for t in range(-41, 42) if min(*above, *below) < t / 2 <= max(*above, *below)]
    assert balanced(cut(above, below)) == pytest.approx(max(map(balanced, inner)))


def test_cut_lies_in_the_middle_of_the_gap():
    assert cut([5.0, 9.0], [1.0, -4.0]) == 3.0


def test_calibration_takes_each_threshold_from_its_own_kinds():
    own = [Features(10, -1.0, 8.0, 0.2), Features(6, -0.5, 6.0, 0.0)]
    swapped = [Features(10, -2.0, -4.0, 0.2), Features(6, -1.5, 0.0, 0.0)]
    mixed = [Features(10, -6.0, 0.0, 0.0), Features(6, -8.0, 0.0, 0.0)]
    elsewhere = [Features(5, -2.2, -9.0, 0.0)]
    found = calibrate(own, swapped, [*swapped, *elsewhere], mixed)
    # Nothing of other tasks counts for relevance; as language it does.
    assert (found.fluency, found.relevance) == (pytest.approx(-4.1), 3.0)
    # Quantiles of two values lie between them: 0.95 of the way from 0 to 0.2, 0.05 of the way from 6 to 10.
    assert (found.repetition, found.shortest) == (pytest.approx((1 + 0.19) / 2), pytest.approx(6.2 / 2))
    with pytest.raises(ValueError, match="2 answers that can be read, 0 to swap and 2 to shuffle"):
        calibrate(own, [], [], mixed)


def test_repetition_counts_runs_of_four():
    assert repetition([1, 2, 3, 4, 5, 6, 7]) == 0
    assert repetition([7] * 13) == 0.9  # ten runs, one of them new
    assert repetition([1, 2, 3]) == 0


@given(st.text("ab #1", min_size=1, max_size=30), st.integers(0, 5))
def test_shuffled_keeps_the_pieces_and_changes_their_order(text, seed):
    mixed = shuffled(text, random.Random(seed))
    if mixed is None:
        words = text.split()
        assert len(set(words)) < 2 if len(words) >= 3 else len(set(text.replace(" ", ""))) < 2
        return
    assert mixed.split() != text.split()
    # Spaces move only where the text is taken apart by letters.
    assert collections.Counter(mixed.replace(" ", "")) == collections.Counter(text.replace(" ", ""))


def test_halves_share_the_documents_out():
    teach, test = halves([str(i) for i in range(11)], 3)
    assert not teach & test
    assert {*teach, *test} == {str(i) for i in range(11)}
    assert abs(len(teach) - len(test)) == 1
    assert halves([str(i) for i in range(11)], 4) != (teach, test)


def test_labelled_set_knows_what_it_made():
    prompts = {"a": "one", "b": "two", "c": "one"}
    base = [Answer("a", "x y z w", True), Answer("b", "p q r s", False), Answer("c", "  ", False)]
    foreign = [Asked("far", "f g h i")]
    made = labelled_set(base, {"gone": [Answer("a", "zzz", False)]}, foreign, prompts, 0)
    kinds = {(e.kind, e.level, e.source, e.asked.prompt, e.asked.origin) for e in made}
    # The empty answer is no example; "a" may not be swapped to "c", which asks the same.
    assert kinds == {
        ("right", 4, "a", "one", None),
        ("wrong", 3, "b", "two", None),
        ("swapped", 2, "a", "two", "one"),
        ("swapped", 2, "b", "one", "two"),
        ("shuffled", 1, "a", "one", None),
        ("shuffled", 1, "b", "two", None),
        ("elsewhere", 2, "elsewhere far", "one", "far"),
        ("gone", 1, "a", "one", None),
    }
    assert next(e.asked.text for e in made if e.kind == "elsewhere") == "f g h i"


def judged(kind, truth, source, said):
    return JudgedExample(kind, truth, source, said)


def test_agreement_is_the_mean_over_levels_and_leaves_out_what_the_scorer_decides():
    examples = [
        judged("right", 4, "a", 4),
        *[judged("shuffled", 1, s, 1) for s in "abcdefgh"],
        judged("swapped", 2, "a", 2),
        judged("swapped", 2, "b", 3),
        judged("swapped", 2, "c", None),
        judged("wrong", 3, "a", 3),
    ]
    assert confusion(examples)["swapped"] == (2, [0, 1, 1, 0, 1])
    assert list(confusion(examples)) == ["shuffled", "swapped", "wrong", "right"]
    found = agreement(examples)
    assert found.balanced == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert (found.right, found.n) == (10, 12)
    assert found.low < found.balanced < found.high
    assert agreement([judged("right", 4, "a", 4)]) is None


def test_the_interval_of_agreement_draws_documents_not_examples():
    """What was made of one document errs together: many copies of few documents are no more evidence than one copy."""
    few = [judged("swapped", 2, str(i), 2 if i % 4 else 3) for i in range(40)]
    one, many = agreement(few), agreement(few * 25)
    assert (one.low, one.high) == (many.low, many.high)
    spread = math.sqrt(0.25 * 0.75 / 40)
    assert one.high - one.low == pytest.approx(2 * 1.96 * spread, rel=0.15)  # the normal approximation


@pytest.fixture(scope="module")
def lab():
    _, config = compose_model("lab-base")
    return load_base(ModelRef("lab-base", config.path, device="cpu"))


@pytest.fixture(scope="module")
def lm(lab):
    return open_engine(lab.model, lab.tokenizer, "tree", EngineSettings())


PROMPTS = {str(i): f"Question: What is {i}{i} plus {i}? Answer:" for i in range(1, 8)}


def log_likelihood(lab, prompt, text):
    """By one plain forward pass of the whole sequence."""
    whole = lab.tokenizer(prompt + text, add_special_tokens=False).input_ids
    first = len(lab.tokenizer(prompt, add_special_tokens=False).input_ids)
    if not prompt:  # what stands before everything
        whole, first = [lab.tokenizer.eos_token_id, *whole], 1
    with torch.no_grad():
        logs = lab.model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(logs[i - 1, whole[i]]) for i in range(first, len(whole)))


def test_features_equal_plain_forward_passes(lab, lm):
    reader = Reader(lm, list(PROMPTS.values()), others=5, tokens=50, elsewhere=["Name a river:"])
    asked = [
        Asked(PROMPTS["1"], " #### 12"),
        Asked(PROMPTS["2"], " The answer is #### 24", origin=PROMPTS["3"]),
        Asked(PROMPTS["3"], "  "),
    ]
    first, second, empty = reader.read(asked)
    assert empty.tokens == 0
    assert level_of(empty, False, LIMITS) == 1
    for item, features in zip(asked, (first, second), strict=False):
        own = log_likelihood(lab, item.prompt, item.text)
        # All seven are drawn; an answer is not scored beside the prompt it comes from, nor beside its own again.
        others = [log_likelihood(lab, p, item.text) for p in PROMPTS.values() if p not in (item.prompt, item.origin)]
        beyond = [log_likelihood(lab, "Name a river:", item.text), log_likelihood(lab, "", item.text)]
        tokens = len(lab.tokenizer(item.text, add_special_tokens=False).input_ids)
        assert features.tokens == tokens
        if item.origin:  # with its origin left out five others remain, all of them
            assert features.relevance == pytest.approx(own - max(*others, *beyond), abs=1e-3)
            assert features.fluency == pytest.approx(max(own, *others, *beyond) / tokens, abs=1e-4)
        else:  # five of six others
            spread = [own - max(*others[:i], *others[i + 1 :], *beyond) for i in range(6)]
            assert min(abs(features.relevance - s) for s in spread) < 1e-3


def test_only_the_first_tokens_are_read(lab, lm):
    reader = Reader(lm, list(PROMPTS.values()), others=5, tokens=4)
    text = " one two three four five six seven eight"
    cut_off = lab.tokenizer.decode(lab.tokenizer(text, add_special_tokens=False).input_ids[:4])
    assert reader.read([Asked(PROMPTS["1"], text)]) == reader.read([Asked(PROMPTS["1"], cut_off)])


def test_circles_are_seen_beyond_what_is_scored(lm):
    reader = Reader(lm, list(PROMPTS.values()), others=5, tokens=4)
    (form,) = reader.forms([Asked(PROMPTS["1"], " one two three four" + " the end" * 40)])
    assert form.tokens == 4
    assert form.repetition > 0.8
    assert math.isnan(form.fluency)
    assert level_of(form, False, LIMITS) == 1


def test_too_few_prompts_are_said(lm):
    with pytest.raises(ValueError, match=r"levels.prompts=6: .* has 7 different ones here; 5 at most"):
        Reader(lm, list(PROMPTS.values()), others=6, tokens=50)


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        ("II", 2),
        ("Level III.", 3),
        ("I", 1),
        ("**II**, since", 2),
        ("I: random tokens", 1),
        ("I think the answer is level III.", 3),
        ("I'd say II", 2),
        ("It could be level II, but no sentence stands: Level: **I**", 1),
        ("I cannot say.", None),
        ("IV", None),
        ("", None),
        (None, None),
    ],
)
def test_level_in_an_answer(answer, level):
    assert level_in(answer) == level


@pytest.fixture
def judge_server():
    """A chat model behind OpenAI's interface that goes by one word of the answer."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = request["messages"][-1]["content"]
            seen.append(text)
            answer = re.search(r"<answer>\n(.*)\n</answer>", text, re.DOTALL).group(1)
            said = {"noise": "I", "weather": "Level II.", "sum": "III"}.get(answer.split()[0], "no idea")
            body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": said}}]}
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/chat/completions", seen
    server.shutdown()


def test_a_judge_behind_an_api_is_asked(judge_server):
    url, seen = judge_server
    judge = AskedJudge("local-chat-completions", {"model": "m", "base_url": url})
    answers = ["noise noise", "weather is fine", "sum is 12", "what"]
    assert judge.judge([Asked(PROMPTS["4"], text) for text in answers]) == [1, 2, 3, None]
    assert all(PROMPTS["4"] in text for text in seen)
    assert judge.judge([]) == []


def test_a_judge_that_lm_eval_does_not_know_is_said():
    with pytest.raises(ValueError, match=r"levels\.judge=oracle: lm-eval cannot open it"):
        AskedJudge("oracle", {})
