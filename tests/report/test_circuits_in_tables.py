"""The section of variants that are circuits."""

from harness.config.compose import compose_run
from harness.report import build_table
from harness.report.markdown import render
from harness.run import run_grid


def test_the_page_says_what_a_circuit_keeps(tmp_path):
    run = compose_run(
        ["model=lab-base", "variants=[base,{variant: circuit, heads: '0.2 1.3', fill: zero, name: two}]", "tasks=[ioi]",
         "limit=5", f"results.dir={tmp_path}"]
    )  # fmt: skip
    assert run_grid(run) == 0
    page = render(build_table(tmp_path, "base"))
    section = page.split("## Circuits")[1].split("##")[0]
    # q and o of 14 heads (32 x 128 each), k and v of groups of which no head stays: two in layers 2 and 3, one in 0, 1.
    dropped = 14 * 2 * 32 * 128 + 6 * 2 * 32 * 128
    assert f"| lab-base | `two` | 2 of 16 | 0.2 1.3 | {dropped:,} ({dropped / 657_536:.1%}) |" in section
    assert "neither smaller nor faster" in section
    (tmp_path / "cells" / "lab-base" / "two" / "ioi.json").unlink()
    assert "## Circuits" not in render(build_table(tmp_path, "base"))
