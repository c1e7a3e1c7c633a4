"""The base asked again: same prompts, other batches, a row of its own."""

import pytest

from harness.config.compose import compose_run
from harness.evaluation.bench import Bench
from harness.evaluation.grid import plan_grid
from harness.evaluation.pairing import pair


def run_of(tmp_path, variants, **more):
    options = [f"{key}={value}" for key, value in more.items()]
    return compose_run(
        ["model=lab-base", f"variants={variants}", "tasks=[lab_gsm8k]", "limit=12", f"results.dir={tmp_path}", *options]
    )


def cells(tmp_path, variants, **more):
    bench = Bench(plan_grid(run_of(tmp_path, variants, **more)))
    results = [bench.evaluate(planned).result for planned in bench.grid.cells]
    return bench, results


def test_noise_is_compared_with_the_base_though_its_batches_differ(tmp_path):
    bench, (base, noise) = cells(tmp_path, "[base,noise]")
    found = pair(noise, bench.store.outcomes(noise.name), base, bench.store.outcomes(base.name))
    assert found.differing == ()
    assert found.comparison.difference.n == 12
    assert base.digest != noise.digest
    assert noise.settings["batch_size"] == 1
    assert noise.patch["touched"] == 0


def test_other_draws_are_noise_too(tmp_path):
    listed = "[base,{variant: noise, seed: 7, name: draws}]"
    bench, (base, draws) = cells(tmp_path, listed, **{"task.generation": "{do_sample: true, temperature: 2.0}"})
    one, other = bench.store.outcomes(base.name), bench.store.outcomes(draws.name)
    assert [o.prompt_hash for o in one] == [o.prompt_hash for o in other]
    assert [o.response for o in one] != [o.response for o in other]
    assert pair(draws, other, base, one).comparison is not None


def test_seeds_make_a_row_each_of_draws_and_one_of_batches(tmp_path):
    run = run_of(tmp_path, "[base,noise,{variant: noise, seed: 7, name: draws}]", seeds="[1,2]")
    assert [c.variant.label for c in plan_grid(run).cells] == ["base", "noise", "draws~1", "draws~2"]


def test_a_batch_of_nothing(tmp_path):
    run = run_of(tmp_path, "[base,noise]", **{"variant.batch_size": 0})
    with pytest.raises(ValueError, match=r"noise.*batch_size 0: give a positive number"):
        plan_grid(run)
