"""The paper's rewards, the arithmetic beside each."""

import pytest

from harness.lora_par.rewards import answer_in, gold_in, paper_reward, single_tags

WHOLE = "<reasoning>\n2+3=5\n</reasoning>\n<answer>\n5\n</answer>\n"


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        (WHOLE, 4.0),  # 2 + 0.5 + 0.5 + 0.5 + 4 x 0.125
        (WHOLE.replace("\n5\n", "\n6\n"), 2.0),  # wrong: a number in the right form
        ("5", 2.5),  # right, a number
        ("6", 0.5),
        ("", 0.0),
        ("five", 0.0),
        ("<reasoning>a</reasoning><answer>5</answer>", 3.0),  # 2 + 0.5 + soft 0.5; no tag has its line
        ("<reasoning>\na\nb\n</reasoning>\n<answer>\n5\n</answer>", 4.0),  # several lines have the strict form too
        (WHOLE + "more text\n", 2 + 0.5 + 0.5 + 0.5 - 2 * 0.001 * 10),  # not strict; ten characters behind, twice
        ("<answer>5</answer>", 2.5),
        ("-5", 0.0),  # wrong, and no digits alone
    ],
)
def test_what_an_answer_is_worth(text, worth):
    assert paper_reward(text, "2+3=5\n#### 5") == pytest.approx(worth, abs=1e-12)


def test_the_gold_answer_stands_behind_the_marks_or_is_all_there_is():
    assert gold_in("steps\n#### 1,000 ") == "1,000"
    assert gold_in(" B") == "B"
    assert answer_in("a <answer> 7 </answer> b <answer>8") == "8"


def test_a_tag_that_stands_twice_is_worth_nothing():
    assert single_tags("<reasoning>\n<reasoning>\n") == 0
    assert single_tags("<reasoning>\n") == 0.125
