"""Indirect object identification."""

import pytest


@pytest.mark.task("ioi")
def test_ioi(cell):
    cell.run()
