"""MATH, MATH-500 and their form in the lab."""

import pytest


@pytest.mark.task("math")
def test_math(cell):
    cell.run()


@pytest.mark.task("math500")
def test_math500(cell):
    cell.run()


@pytest.mark.task("lab_math")
def test_lab_math(cell):
    cell.run()
