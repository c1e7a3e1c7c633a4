import pytest

from harness.config.compose import compose_run, names_of
from harness.evaluation.grid import plan_grid


def grid(*overrides):
    return plan_grid(compose_run(list(overrides)))


def test_cells_are_ordered_by_model_variant_task():
    cells = grid("model=[lab-base,lab-reasoner]", "variants=[base,oproj_zeroed]", "tasks=[ioi,lab_arc]").cells
    assert [str(c.name) for c in cells[:4]] == [
        "lab-base/base/ioi",
        "lab-base/base/lab_arc",
        "lab-base/oproj_zeroed/ioi",
        "lab-base/oproj_zeroed/lab_arc",
    ]
    assert len(cells) == 8


def test_without_tasks_a_model_brings_its_suite():
    assert {c.name.task for c in grid("model=lab-base").cells} >= {"lab_gsm8k", "ioi"}


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["variants=[nothing]"], "unknown variant 'nothing'"),
        (["tasks=[nothing]"], "unknown task or suite 'nothing'"),
        (["model=nothing"], "unknown model 'nothing'"),
        (["variant.layers='0:1'"], "no chosen variant or task has the setting variant.layers; base has: none"),
        (["task.shots=3"], "no chosen variant or task has the setting task.shots"),
        (["variants=[merge]", "variant.parts=[o_proj]", "variant.donor=nothing"], "unknown model 'nothing'"),
        (
            ["model=some/hub", "tasks=[ioi]", "variants=[oproj_merged]"],
            "variant oproj_merged of model some--hub: no donor.*set variant.donor=",
        ),
        (["model=lab-reasoner", "variants=[donor]"], "lab-reasoner is the base itself"),
        (["engine=vllm"], "unknown engine 'vllm'.*tree"),
        (["runtime.refill=2"], "runtime.refill=2.0: give a share from 0 to 1"),
        (["runtime.batch_tokens=0"], "runtime.batch_tokens=0: give a positive number"),
        (["runtime.deadline=-1"], "runtime.deadline=-1.0: give seconds above 0"),
        (["runtime.cell_deadline=0"], "runtime.cell_deadline=0.0: give seconds above 0"),
        (["runtime.threads=-1"], "runtime.threads=-1: give a positive number"),
        (["runtime.gpus_per_worker=0"], "runtime.gpus_per_worker=0: give a positive number"),
        (["runtime.max_length=-5"], "runtime.max_length=-5: give a positive number"),
        (["runtime.dtype=float3"], "unknown runtime.dtype 'float3'. Did you mean float32"),
        (["runtime.device=foo"], "runtime.device=foo: not a device"),
        (["variants=[]"], "at least one model and one variant"),
        (["data=mirror", "data.root=/nowhere"], "data.root '/nowhere' is not a folder"),
    ],
)
def test_what_cannot_work_fails_before_anything_is_loaded(overrides, text):
    with pytest.raises(ValueError, match=text):
        grid(*overrides)


def test_programs_of_strangers_need_a_sandbox(monkeypatch):
    monkeypatch.setattr("harness.evaluation.grid.why_missing", lambda: "bubblewrap is gone")
    with pytest.raises(ValueError, match=r"task humaneval runs programs that some--hub writes: bubblewrap is gone"):
        grid("model=some/hub", "tasks=[humaneval]")
    grid("model=some/hub", "tasks=[humaneval]", "sandbox.kind=process")
    grid("model=lab-base", "tasks=[lab_humaneval]")


def test_settings_apply_where_they_fit():
    cells = grid("variants=[base,oproj_merged]", "variant.layers='0:2'", "tasks=[ioi]").cells
    assert [c.name.variant for c in cells] == ["base", "oproj_merged(layers=0:2)"]


def test_names():
    assert names_of("a, b,a") == ["a", "b"]
    assert names_of(["a", "b"]) == ["a", "b"]
    assert names_of(None) == []


def test_settings_of_a_list_and_of_the_run_are_merged():
    listed = "variants=[{variant: lora_par, name: x, split: {by: random}, sft: {epochs: 7}}]"
    typed = ["tasks=[lab_gsm8k]", "variant.split.ties=drop", "variant.sft.max_steps=2"]
    config = plan_grid(compose_run([listed, *typed])).cells[0].variant.config
    assert (config.split.by, config.split.ties, config.sft.epochs, config.sft.max_steps) == ("random", "drop", 7, 2)


LISTED = "variants=[base,{variant: oproj_merged, factor: 0.5, name: half},{variant: oproj_merged, factor: 0.25}]"


def test_a_list_may_hold_variants_with_settings_of_their_own():
    grid = plan_grid(compose_run([LISTED, "tasks=[lab_gsm8k]"]))
    found = {str(c.name.variant): c.variant.config for c in grid.cells}
    assert list(found) == ["base", "half", "oproj_merged(factor=0.25)"]
    assert (found["half"].factor, found["oproj_merged(factor=0.25)"].factor) == (0.5, 0.25)
    typed = plan_grid(compose_run([LISTED, "tasks=[lab_gsm8k]", "variant.layers='0:1'"]))
    assert [str(c.name.variant) for c in typed.cells][1] == "half(layers=0:1)"


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ("{variant: oproj_merged, name: base}", "name 'base' of a variant in a list"),
        ("{variant: oproj_merged, name: 'a~b'}", "letters, digits"),
        ("{variant: oproj_merged, name: '..'}", "letters, digits"),
        ("{variant: oproj_merged, theta: 1}", "variant oproj_merged has no setting theta"),
        ("{variant: nothing}", "unknown variant 'nothing'"),
        ("{name: x}", "is no variant: give a name"),
        ("{variant: oproj_merged, factor: 0.5, name: x},{variant: mlp_merged, name: x}", "two variants are called x"),
    ],
)
def test_lists_that_cannot_be(listed, text):
    with pytest.raises(ValueError, match=text):
        plan_grid(compose_run([f"variants=[base,{listed}]", "tasks=[lab_gsm8k]"]))


def test_seeds_make_replicas_of_what_draws_and_of_nothing_else():
    run = compose_run(
        ["variants=[base,oproj_merged,q_reinit,q_zeroed,svf_math,classifier]", "tasks=[lab_gsm8k]", "seeds=[3,5]"]
    )
    found = {str(c.name.variant): c.variant.config for c in plan_grid(run).cells}
    assert list(found) == [
        "base", "oproj_merged", "q_reinit~3", "q_reinit~5", "q_zeroed", "svf_math~3", "svf_math~5", "classifier~3",
        "classifier~5",
    ]  # fmt: skip
    assert (found["q_reinit~3"].seed, found["q_reinit~5"].seed) == (3, 5)
    assert (found["svf_math~5"].train.seed, found["svf_math~5"].sft.seed) == (5, 5)
    assert {e.config.train.seed for e in found["classifier~3"].experts.values()} == {3}


@pytest.mark.parametrize("seeds", ["[]", "[1,1]"])
def test_seeds_that_cannot_be(seeds):
    with pytest.raises(ValueError, match="give at least one, each once"):
        plan_grid(compose_run(["variants=[base,svf_math]", "tasks=[lab_gsm8k]", f"seeds={seeds}"]))
