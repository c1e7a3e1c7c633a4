from itertools import combinations

import pytest

from harness.grading.code import Verdicts, pass_at_k
from harness.grading.mathematics import equal
from harness.sandbox import Execution


@pytest.mark.parametrize(
    ("n", "correct", "k"), [(5, 2, 1), (5, 2, 2), (5, 2, 3), (6, 0, 3), (6, 6, 2), (7, 3, 7), (10, 1, 5)]
)
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(n, correct, k):
    """Brute force: every way to draw k of the n samples."""
    draws = list(combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("n", "correct", "k"), [(1, 0, 2), (3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_pass_at_k_refuses_what_makes_no_sense(n, correct, k):
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, correct, k)


def test_the_same_program_with_the_same_tests_runs_once():
    ran = []

    class Box:
        name = "fake"

        def run(self, program, tests):
            ran.append((program, tests))
            verdict = "passed" if "good" in program else "timeout" if "slow" in program else "failed"
            return Execution(verdict, 0, "", 0.0)

    verdicts = Verdicts(Box())
    assert verdicts.of(["good", "bad", "good"], "tests") == [True, False, True]
    assert ran == [("good", "tests"), ("bad", "tests")]
    assert verdicts.of(["bad", "good"], "tests") == [False, True]
    assert len(ran) == 2
    # Other tests, or a cut elsewhere between the two, are another program; what a limit ended is run again.
    assert verdicts.of(["good", "slow"], "other tests") == [True, False]
    assert verdicts.of(["goodt"], "ests") == [True]
    assert verdicts.of(["slow"], "other tests") == [False]
    assert ran[2:] == [("good", "other tests"), ("slow", "other tests"), ("goodt", "ests"), ("slow", "other tests")]


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        (r"so $\boxed{\frac{1}{2}}$", r"The answer is $\boxed{0.5}$.", True),
        (r"$\boxed{16}$", r"Final Answer: The final answer is $16$. I hope it is correct.", True),
        (r"$\boxed{x^2+2x}$", r"$\boxed{x(x+2)}$", True),
        (r"$\boxed{3}$", r"$\boxed{4}$", False),
        (r"$\boxed{3}$", "", False),
        (r"$\boxed{3}$", "no answer", False),
        (r"$\boxed{25}$", r"I know that $125$ is it", False),
    ],
)
def test_mathematics(gold, answer, same):
    assert equal(gold, answer) is same
