"""Every claim that is written down can be put to results."""

import pytest

from harness.claims import AskedClaims, asked_of, keep_asked
from harness.config.claims import BESIDE, OF_CELLS, claim_names, compose_claim, compose_claims, same_model
from harness.config.compose import compose_run, known
from harness.evaluation.grid import plan_grid

PAPERS = (
    "Stethoscope for Networks", "Accelerated Path Patching", "Transformer-Squared", "LoRA-PAR",
    "Crosscoding Through Time",
)  # fmt: skip


def with_experiment():
    return [(name, compose_run([f"experiment={name}"])) for name in known("experiment")]


@pytest.mark.parametrize("model", ["lab", "lab-base", "qwen2.5-math-1.5b", "some--model", "lab@seed=2"])
@pytest.mark.parametrize("name", known("claim"))
def test_claims_name_what_there_is(name, model):
    claim = compose_claim(name, model)
    config = claim.config
    assert config.paper.startswith(PAPERS)
    assert config.statement.strip().endswith(".")
    if config.measure in OF_CELLS:
        assert {*config.variants, *config.against} <= set(known("variant"))
        assert set(config.tasks) <= set(known("task"))
        assert all(("lab" in task) == same_model("lab", model) for task in config.tasks)
    else:
        assert config.measure in BESIDE


def test_all_five_papers_state_something():
    papers = {compose_claim(name, "m").config.paper for name in known("claim")}
    assert all(any(p.startswith(paper) for p in papers) for paper in PAPERS)
    assert len(papers) == 5


def test_every_claim_belongs_to_an_experiment_that_measures_it():
    asked = {}
    for experiment, run in with_experiment():
        for name in claim_names(run.claims):
            asked[name] = experiment
            claim = compose_claim(name, str(run.model))
            if claim.of_cells:
                listed = {v if isinstance(v, str) else v.get("name", v["variant"]) for v in run.variants}
                assert {name for pair in claim.pairs for name in pair[:2]} <= listed, (experiment, name)
                assert set(claim.config.tasks) <= set(run.tasks), (experiment, name)
                if claim.config.measure.startswith("level"):
                    assert set(claim.config.tasks) <= set(run.levels.tasks)
            else:
                assert getattr(run, BESIDE[claim.config.measure]) is not None
    assert set(asked) == set(known("claim"))


def own_conf(tmp_path, monkeypatch, text):
    (tmp_path / "conf" / "claim").mkdir(parents=True)
    (tmp_path / "conf" / "claim" / "mine.yaml").write_text("paper: p\nstatement: s.\n" + text)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("text", "message"), [
    ("variants: [a]\n", "needs tasks"),
    ("tasks: [ioi]\n", "needs variants"),
    ("variants: [a]\ntasks: [t]\nmeasure: scroe\n", "unknown measure 'scroe'.*score"),
    ("variants: [a]\ntasks: [t]\ndirection: over\n", "unknown direction 'over'"),
    ("variants: [a]\ntasks: [t]\ntest: anova\n", "unknown test 'anova'"),
    ("variants: [a]\ntasks: [t]\ndirection: alike\n", "margin 0: at least 0, and above 0 for alike"),
    ("variants: [a]\ntasks: [t]\nmargins: 1\n", "margins"),
    ("variants: a\ntasks: [t]\n", "conf/claim/mine.yaml: variants: expected a list. Keys: paper, "),
    ("variants: [a]\ntasks: [t]\nmargin: 5\n", r"margin 5: of score, a share, below 1 \(0.05 is 5 points\)"),
    ("variants: [a, b]\nagainst: [b]\ntasks: [t]\n", "b is compared with itself"),
    ("variants: [a]\nmeasure: scroe\ndirection: over\n", "(?s)unknown measure 'scroe'.*mine.yaml: unknown direction"),
    ("variants: [a]\ntasks: [t]\nfor_model: {lab: {task: x}}\n", "for_model.lab must hold keys among"),
])  # fmt: skip
def test_a_claim_of_ones_own_that_decides_nothing(tmp_path, monkeypatch, text, message):
    own_conf(tmp_path, monkeypatch, text)
    with pytest.raises(ValueError, match=message):
        compose_claim("mine", "lab")


def test_every_wrong_file_is_named_at_once(tmp_path, monkeypatch):
    own_conf(tmp_path, monkeypatch, "variants: [a]\n")
    (tmp_path / "conf" / "claim" / "yours.yaml").write_text("paper: p\nstatement: s.\nvariants: a\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: needs tasks") as caught:
        compose_claims("all", ["lab", "lab-base"])
    assert str(caught.value).count("yours.yaml: variants: ") == 1


def test_names_that_a_run_would_be_made_of(tmp_path, monkeypatch):
    own_conf(tmp_path, monkeypatch, "variants: [oproj_zerod]\ntasks: [lab_gsm9k]\n")
    message = r"(?s)mine.yaml: unknown variant 'oproj_zerod'. Did you mean oproj_zeroed.*mine.yaml: unknown task 'lab_g"
    with pytest.raises(ValueError, match=message):
        plan_grid(compose_run(["model=lab", "claims=[mine]"]))


def test_a_claim_of_ones_own(tmp_path, monkeypatch):
    own_conf(tmp_path, monkeypatch, "variants: [a, b]\ntasks: [t]\nfor_model: {lab: {tasks: [u]}}\n")
    assert compose_claim("mine", "other").pairs == [("a", "base", "t"), ("b", "base", "t")]
    assert compose_claim("mine", "lab-base").pairs == [("a", "base", "u"), ("b", "base", "u")]
    assert "mine" in claim_names("all")


def test_an_unknown_claim_is_named():
    with pytest.raises(ValueError, match=r"sfn_merge_oproj_reason'\. Did you mean sfn_merge_oproj_reasons"):
        claim_names(["sfn_merge_oproj_reason"])


def test_claims_of_several_runs_of_one_folder_add_up(tmp_path):
    keep_asked(tmp_path, ["a", "b"], ["m"])
    keep_asked(tmp_path, ["b", "c"], ["n", "m"])
    assert asked_of(tmp_path) == AskedClaims(("a", "b", "c"), ("m", "n"))
    for text in (
        '{"format": 1}',
        '{"format": 2, "claims": [], "models": []}',
        '{"format": 1, "claims": [1], "models": []}',
    ):
        (tmp_path / "claims.json").write_text(text)
        with pytest.raises(ValueError, match=r"is not a list of claims.*Delete it"):
            asked_of(tmp_path)
