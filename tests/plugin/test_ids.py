"""Which cell a node id means."""

from harness.config.compose import compose_run
from harness.evaluation.grid import plan_grid
from harness.plugin.session import case_id, cell_of_id


def test_each_case_means_its_own_cell():
    overrides = ["variants=[base,oproj_zeroed]", "tasks=[lab_gsm8k,lab_gsm8k_self_consistency]", "runtime.device=cpu"]
    grid = plan_grid(compose_run(overrides))
    for cell in grid.cells:
        own = f"suites/test_gsm8k.py::test_{cell.name.task}[{case_id(cell, False)}]"
        several = f"suites/test_every_other_task.py::test_task[{case_id(cell, True)}]"
        assert cell_of_id(grid, own) is cell
        assert cell_of_id(grid, several) is cell
    assert cell_of_id(grid, "tests/test_mine.py::test_lab_gsm8k") is None
    assert cell_of_id(grid, "tests/test_mine.py::test_other[lab-base-base]") is None
