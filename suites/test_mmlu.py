"""MMLU and its form in the lab."""

import pytest


@pytest.mark.task("mmlu")
def test_mmlu(cell):
    cell.run()


@pytest.mark.task("lab_mmlu")
def test_lab_mmlu(cell):
    cell.run()
