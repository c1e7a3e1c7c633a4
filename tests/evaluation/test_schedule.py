"""Order, cuts, and a simulated schedule against its lower bound."""

import random

import pytest

from harness.config.compose import compose_run
from harness.evaluation.cells import CellName
from harness.evaluation.grid import plan_grid
from harness.evaluation.parts import LEAST, cut
from harness.evaluation.schedule import LONG, Timing, cuts, makespan, schedule


def cells(*overrides):
    return plan_grid(compose_run(["runtime.device=cpu", *overrides])).cells


def test_the_longest_come_first_by_what_they_took():
    grid = cells("variants=[base,oproj_zeroed]", "tasks=[ioi,lab_gsm8k,lab_arc]")
    times = {"ioi": 5.0, "lab_gsm8k": 90.0, "lab_arc": 30.0}
    plan = schedule(grid, None, 2, [Timing(CellName("lab-base", "base", t), s, None) for t, s in times.items()])
    assert [c.name.task for c in plan.order] == ["lab_gsm8k", "lab_gsm8k", "lab_arc", "lab_arc", "ioi", "ioi"]


def test_one_process_keeps_the_order_of_the_grid():
    grid = cells("variants=[base,oproj_zeroed]", "tasks=[ioi,lab_gsm8k]")
    assert schedule(grid, None, 1).order == grid


def test_models_stay_together():
    grid = cells("model=[lab-base,lab-reasoner]", "tasks=[ioi,lab_gsm8k]")
    names = [c.name.model for c in schedule(grid, None, 4).order]
    assert names == sorted(names)


def test_a_limit_scales_what_a_cell_took():
    (cell,) = cells("tasks=[lab_gsm8k]")
    timing = Timing(cell.name, 4000.0, 100)
    assert timing.under(50) == 2000.0
    assert timing.under(None) == 4000.0
    # 4000 s in one process: parts of at most LONG seconds, so that a kill costs no more.
    assert schedule([cell], 100, 1, [timing]).parts[cell.name] == 7
    assert schedule([cell], 10, 1, [timing]).parts[cell.name] == 1


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_one_cell_keeps_all_workers_busy(workers):
    assert cuts([100.0], workers)[0] >= workers
    assert cuts([1.0], workers)[0] == workers


def test_many_small_cells_are_not_cut():
    assert set(cuts([5.0] * 36, 2)) == {1}


def test_a_large_cell_among_small_ones_is_cut_and_they_are_not():
    out = cuts([900.0, *[20.0] * 10], 4)
    assert out[0] >= 4
    assert set(out[1:]) == {1}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("workers", [2, 8])
def test_schedule_comes_near_its_lower_bound(seed, workers):
    """Cells of very different lengths, cut and handed out longest first."""
    draw = random.Random(seed)
    seconds = sorted((draw.lognormvariate(4, 1.2) for _ in range(draw.randint(1, 60))), reverse=True)
    pieces = [s / n for s, n in zip(seconds, cuts(seconds, workers), strict=True) for _ in range(n)]
    pieces.sort(reverse=True)
    bound = max(*pieces, sum(seconds) / workers) if len(pieces) > 1 else pieces[0]
    assert max(pieces) <= LONG * 1.01 + 1e-9
    assert makespan(pieces, workers) <= 1.1 * bound


def test_makespan_is_that_of_list_scheduling():
    assert makespan([6, 6, 1, 1], 2) == 7
    assert makespan([1, 1, 6, 6], 2) == 7
    assert makespan([3, 3, 2, 2, 2], 2) == 7
    assert makespan([5.0], 8) == 5.0


@pytest.mark.parametrize(("documents", "parts"), [(0, 3), (1, 4), (7, 9), (16, 2), (100, 7), (1319, 64)])
def test_parts_cover_every_document_once(documents, parts):
    made = cut(documents, parts)
    covered = [d for p in made for d in range(p.start, p.stop)]
    assert covered == list(range(documents))
    assert len(made) <= max(1, parts)
    if len(made) > 1:
        assert min(p.stop - p.start for p in made) >= LEAST
