"""GSM8K and its form in the lab."""

import pytest


@pytest.mark.task("gsm8k")
def test_gsm8k(cell):
    cell.run()


@pytest.mark.task("gsm8k_cot")
def test_gsm8k_cot(cell):
    cell.run()


@pytest.mark.task("lab_gsm8k")
def test_lab_gsm8k(cell):
    cell.run()


@pytest.mark.task("gsm8k_self_consistency")
def test_gsm8k_self_consistency(cell):
    cell.run()


@pytest.mark.task("lab_gsm8k_self_consistency")
def test_lab_gsm8k_self_consistency(cell):
    cell.run()


@pytest.mark.task("gsm8k_zero_shot")
def test_gsm8k_zero_shot(cell):
    cell.run()
