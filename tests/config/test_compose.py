import pytest

from harness.config import compose as c
from harness.config import specs
from harness.config.paths import CONF


def test_every_file_of_conf_composes():
    """Each variant, task, model, suite and group file, against its schema."""
    for name in c.known("variant"):
        specs.compose_variant(name, "lab-reasoner", {})
    for name in c.known("task"):
        c.compose_task(name, {})
    for name in c.known("models"):
        c.compose_model(name)
    for group in ("data", "runtime", "sandbox"):
        for name in c.known(group):
            c.compose_run([f"{group}={name}"])
    for name in c.known("experiment"):
        c.compose_run([f"experiment={name}"])
    for name in c.known("suite"):
        assert c.expand_tasks([name])


def test_an_experiment_sets_the_run_and_the_command_line_wins():
    run = c.compose_run(["experiment=demo"])
    assert len(run.variants) == 6
    assert run.results.dir == "results/demo"
    assert c.compose_run(["experiment=demo", "variants=[base]"]).variants == ["base"]


def test_no_group_of_conf_is_forgotten():
    assert {p.name for p in CONF.iterdir() if p.is_dir()} == {
        "claim",
        "data",
        "experiment",
        "models",
        "runtime",
        "sandbox",
        "suite",
        "task",
        "variant",
    }


def test_presets_say_what_the_paper_says():
    assert specs.compose_variant("oproj_merged", "d", {})[0].config.parts == ["o_proj"]
    assert specs.compose_variant("qkv_merged", "d", {})[0].config.parts == ["qkv"]
    assert specs.compose_variant("mlp_merged", "d", {})[0].config.parts == ["mlp"]
    assert specs.compose_variant("all_but_oproj_merged", "d", {})[0].config.parts == ["all", "-o_proj"]


def test_settings_replace_and_are_shown_in_the_label():
    spec, taken = specs.compose_variant("oproj_merged", "d", {"layers": "0:2", "steps": ["x"]})
    assert spec.config.layers == "0:2"
    assert spec.label == "oproj_merged(layers=0:2)"
    assert taken == {"layers"}


def test_run_takes_open_keys_and_checks_the_others():
    run = c.compose_run(["variant.layers=0:2", "gates.ioi.min=0.3", "model=a/b"])
    assert run.variant == {"layers": "0:2"}
    assert run.gates["ioi"].min == 0.3
    assert run.model == "a/b"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["lmit=3"], ["lmit", "limit"]),
        (["runtime.batchsize=3"], ["batchsize", "batch_size"]),
        (["data=hug"], ["hug", "hub", "mirror"]),
        (["limit=many"], ["many", "Integer"]),
        (["gates.ioi.mn=3"], ["mn", "min"]),
    ],
)
def test_mistakes_name_what_is_valid(overrides, words):
    with pytest.raises(ValueError) as error:
        c.compose_run(overrides)
    assert all(w in str(error.value) for w in words), str(error.value)


def test_unknown_names_are_met_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown variant 'oproj_merge'. Did you mean oproj_merged.*Known: .*base"):
        specs.compose_variant("oproj_merge", None, {})
    with pytest.raises(ValueError, match=r"unknown task or suite 'gsm'.*Known: .*gsm8k"):
        c.expand_tasks(["gsm"])
    with pytest.raises(ValueError, match=r"unknown model 'labb'.*lab-base.*folder or a hub id"):
        c.compose_model("labb")


def test_a_users_own_conf_extends_ours(tmp_path, monkeypatch):
    (tmp_path / "variant").mkdir()
    (tmp_path / "variant" / "mine.yaml").write_text("defaults: [destroy, _self_]\nparts: [mlp]\nlayers: '0:1'\n")
    monkeypatch.setenv("HARNESS_CONF", str(tmp_path))
    assert "mine" in c.known("variant")
    assert specs.compose_variant("mine", None, {})[0].config.layers == "0:1"
    (tmp_path / "variant" / "base.yaml").write_text("method: base\n")
    with pytest.raises(ValueError, match=r"variant/base.yaml exist in the package's conf/ too"):
        c.known("variant")


def test_mistyped_key_in_a_users_variant_is_found(tmp_path, monkeypatch):
    (tmp_path / "variant").mkdir()
    (tmp_path / "variant" / "mine.yaml").write_text("defaults: [merge, _self_]\nprats: [mlp]\n")
    monkeypatch.setenv("HARNESS_CONF", str(tmp_path))
    with pytest.raises(ValueError, match=r"variant mine.*prats.*Keys: method, donor, parts"):
        specs.compose_variant("mine", "d", {})


def test_settings_of_a_model_stand_between_the_variants_own_and_the_runs():
    of_model = {"freeze": {"train": {"learning_rate": 0.5, "epochs": 2}, "layers": "0:1"}, "svf": {"held_back": 3}}
    spec, taken = specs.compose_variant("freeze_f1", None, {"train": {"epochs": 3}}, of_model)
    assert (spec.config.train.learning_rate, spec.config.train.epochs) == (0.5, 3)
    assert spec.config.train.weight_decay == 1e-4
    assert spec.config.layers == "0:1"
    # Only what the run replaced is in the name, and in a readable way.
    assert (spec.label, taken) == ("freeze_f1(train=epochs:3)", {"train"})


def test_lab_models_settings_fit_their_variants():
    model = c.compose_model("lab-base")[1]
    spec, _ = specs.compose_variant("freeze_f2", model.donor, {}, model.variant)
    assert (spec.config.data.path, spec.config.data.divider) == ("harness/lab", None)
