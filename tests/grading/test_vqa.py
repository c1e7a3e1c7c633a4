"""The accuracy of visual question answering, by hand."""

import pytest

from harness.grading.vqa import accuracy, normalised


@pytest.mark.parametrize(
    ("answer", "as_compared"),
    [
        ("The  Red Bus.", "red bus"),
        ("two", "2"),
        ("None", "0"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("it's", "it 's"),
        ("dont", "don't"),
        ("youre late", "you're late"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("(stop)", "stop"),
        ("well-known", "well known"),
        ("yes!", "yes"),
        ("what?", "what"),
        ("A\nB\tC", "b c"),
        ("", ""),
    ],
)
def test_what_is_compared(answer, as_compared):
    assert normalised(answer) == as_compared


@pytest.mark.parametrize(
    ("agreeing", "score"),
    # Who gave the answer is left out once for each of them: (k (min(1, (k-1)/3)) + (10-k) min(1, k/3)) / 10.
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_the_score_leaves_each_person_out(agreeing, score):
    people = ["stop"] * agreeing + [f"other {i}" for i in range(10 - agreeing)]
    assert accuracy("Stop.", people) == pytest.approx(score)


def test_one_answer_is_too_few():
    with pytest.raises(ValueError, match="1 answers to compare with"):
        accuracy("a", ["a"])
