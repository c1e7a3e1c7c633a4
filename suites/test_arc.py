"""ARC and its form in the lab."""

import pytest


@pytest.mark.task("arc_easy")
def test_arc_easy(cell):
    cell.run()


@pytest.mark.task("arc_challenge")
def test_arc_challenge(cell):
    cell.run()


@pytest.mark.task("lab_arc")
def test_lab_arc(cell):
    cell.run()
