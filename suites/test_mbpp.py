"""MBPP: programs run in the sandbox."""

import pytest


@pytest.mark.task("mbpp")
def test_mbpp(cell):
    cell.run()
