"""HumanEval and its form in the lab: programs run in the sandbox."""

import pytest


@pytest.mark.task("humaneval")
def test_humaneval(cell):
    cell.run()


@pytest.mark.task("lab_humaneval")
def test_lab_humaneval(cell):
    cell.run()
