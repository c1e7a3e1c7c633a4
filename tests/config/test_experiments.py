import pytest

from harness.config.compose import compose_run, known
from harness.config.experiments import settle_model
from harness.evaluation.grid import plan_grid
from harness.report.published import claims

EXPERIMENTS = [name for name in known("experiment") if name.startswith("sfn_")]


def test_there_are_four():
    assert EXPERIMENTS == ["sfn_delta", "sfn_destroy", "sfn_freeze", "sfn_merge"]


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("overrides", [[], ["model=lab"]], ids=["paper", "lab"])
def test_every_experiment_composes_on_the_papers_models_and_on_the_lab(name, overrides):
    run = compose_run([f"experiment={name}", *overrides])
    grid = plan_grid(run)
    assert grid.cells or run.delta is not None
    assert all(c.task.lm_eval for c in grid.cells)
    assert {c.name.task.startswith("lab") for c in grid.cells} <= {bool(overrides)}
    variants = {c.name.variant.partition("(")[0] for c in grid.cells}
    for block in run.published:
        assert {row.variant for row in block.rows} <= variants
        assert block.baseline == "base"
        claims(block)  # every score has its number of documents
        # The block of the model that is run speaks of tasks that are run.
        if block.model == run.model:
            assert set(block.n) <= {c.name.task.partition("(")[0] for c in grid.cells}


PLAIN = {
    "tasks": ["a"],
    "limit": None,
    "variant": {"x": 1, "y": 2},
    "runtime": {"dtype": "float32", "threads": 2},
    "for_model": {"lab": {"tasks": ["b"], "variant": {"z": 3}, "runtime": {"threads": 1}, "limit": 5}},
}


def same(one, other):
    """``lab`` and ``lab-base`` are one model; nobody knows ``labb``."""
    if "labb" in (one, other):
        raise ValueError("unknown model 'labb'")
    return one == other or {one, other} == {"lab", "lab-base"}


def settle(plain, models, typed):
    return settle_model(plain, models, typed, same)


def test_keys_of_the_model_replace_those_of_the_experiment():
    settled = settle(PLAIN, ["lab"], [])
    assert settled["tasks"] == ["b"]
    assert settled["variant"] == {"z": 3}  # whole
    assert settled["runtime"] == {"dtype": "float32", "threads": 1}  # key by key
    assert settle(PLAIN, ["lab-base"], []) == settled
    assert settle(PLAIN, ["other"], []) == PLAIN
    with pytest.raises(ValueError, match=r"for_model.lab holds for that model alone, and lab, other are to be run"):
        settle(PLAIN, ["lab", "other"], [])
    with pytest.raises(ValueError, match="unknown model 'labb'"):
        settle({**PLAIN, "for_model": {"labb": {}}}, ["lab"], [])


def test_what_was_typed_stays():
    typed = ["tasks=[a]", "++variant.x=1", "runtime.threads=2", "limit=null"]
    settled = settle(PLAIN, ["lab"], typed)
    assert settled["tasks"] == ["a"]
    assert settled["variant"] == {"z": 3, "x": 1}
    assert settled["runtime"]["threads"] == 2
    assert settled["limit"] is None


@pytest.mark.parametrize(("own", "text"), [({"tsks": 1}, "unknown key tsks"), ([1], "unknown key")])
def test_keys_that_a_run_has_not_are_said(own, text):
    with pytest.raises(ValueError, match=f"for_model.lab: {text}"):
        settle({**PLAIN, "for_model": {"lab": own}}, ["lab"], [])


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("levels.tasks=[gsm]", "unknown task in levels.tasks 'gsm'"),
        ("levels.destroyed=[nothing]", "unknown variant in levels.destroyed"),
        ("levels.destroyed=[base]", "base destroys nothing"),
        ("levels.prompts=0", "levels.prompts=0"),
        ("levels.prmpts=4", "prmpts"),
    ],
)
def test_mistakes_in_levels_are_found_before_the_work(override, text):
    with pytest.raises(ValueError, match=text):
        plan_grid(compose_run(["tasks=[lab_gsm8k]", override]))


def test_a_published_row_is_checked():
    with pytest.raises(ValueError, match=r"published\[0\].*'scors'"):
        compose_run(["published=[{source:s,rows:[{variant:base,scors:{}}]}]"])
