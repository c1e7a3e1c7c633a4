"""A whole study on the lab's checkpoints and variants, its files, and what is refused before anything is loaded."""

import json
import re
from dataclasses import replace

import pytest

from harness.after import extras_of
from harness.config.compose import compose_model, compose_run
from harness.config.crosscoder import StudyConfig
from harness.crosscoder.asked import task_folder
from harness.crosscoder.state import WEIGHTS
from harness.crosscoder.study import check, main
from harness.studied import crosscoder_configs

CHECKPOINTS = "checkpoints=[lab-base-step150,lab-base-step800,lab-base-step1500,lab-base]"
SMALL = [
    "layer=1", "training.tokens=40000", "training.batch=512", "training.latents=128", "training.l1=0.5",
    "buffer.passes=4", "buffer.batch_tokens=2048", "buffer.megabytes=64", "pairs.most=40", "analysis.held_out=3000",
    "analysis.controls=5",
    "analysis.resamples=200", "analysis.top=3", "analysis.contexts=3", "analysis.steps=3", "progress=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    assert main([CHECKPOINTS, *SMALL, "seeds=[0,1]", f"out={folder}"]) == 0
    return folder


class TestPage:
    def test_a_triplet_is_chosen_by_rule(self, done):
        record = json.loads((done / "crosscoder.json").read_text())
        assert list(record["models"]) == ["lab-base-step800", "lab-base-step1500", "lab-base"]
        accuracy = [c["value"] for c in record["course"]["accuracy"]["same"]]
        assert accuracy[0] < 0.75 and accuracy[2:] == [1.0, 1.0]

    def test_everything_is_there_and_every_link_leads_somewhere(self, done):
        page = (done / "crosscoder.md").read_text()
        for head in (
            "The training",
            "The crosscoders",
            "Decoder norms",
            "lab:agreement",
            "Classes by RelIE",
            "taken out",
        ):
            assert head in page
        links = re.findall(r"\]\(([^)]+)\)", page)
        assert len(links) > 5
        assert all((done / link).is_file() for link in links)
        pages = list((done / "lab-agreement" / "latents").glob("latent-*.html"))
        index = (done / "lab-agreement" / "latents" / "index.html").read_text()
        assert pages and all(p.name in index for p in pages)
        assert "<script" not in index

    def test_the_null_has_nothing_specific(self, done):
        classes = json.loads((done / "crosscoder.json").read_text())["null"]["lab:agreement"]
        assert "A-B-C" in classes
        assert not {"A", "B", "C"} & set(classes)

    def test_reconstruction_is_better_than_zeros_everywhere(self, done):
        for one in json.loads((done / "crosscoder.json").read_text())["crosscoders"]:
            assert all(0.5 < v < 1 for v in one["explained"])
            assert all(s["clean"] < s["spliced"] < s["zeroed"] for s in one["cross_entropy"])
            assert all(0.5 < s["recovered"] < 1 for s in one["cross_entropy"])

    def test_again_reads_what_is_there_and_says_the_same(self, done, capsys):
        stamp = (done / "crosscoders" / "seed-0" / WEIGHTS).stat().st_mtime_ns
        before = (done / "crosscoder.json").read_text()
        assert main([CHECKPOINTS, *SMALL, "seeds=[0,1]", f"out={done}"]) == 0
        assert "seed-0: trained already" in capsys.readouterr().out
        assert (done / "crosscoders" / "seed-0" / WEIGHTS).stat().st_mtime_ns == stamp
        assert (done / "crosscoder.json").read_text() == before

    def test_other_settings_in_its_folder_are_refused(self, done, capsys):
        assert main([CHECKPOINTS, *SMALL, "training.rate=0.5", f"out={done}"]) == 2
        assert "other settings or models" in capsys.readouterr().err


def test_variants_of_a_model_are_a_part_of_a_run(tmp_path):
    given = [f"crosscoder.{setting}" for setting in SMALL if "progress" not in setting]
    run = compose_run(
        ["model=lab", "variants=[]", "crosscoder.models=[base,oproj_zeroed]", *given, "crosscoder.seeds=[0]",
         f"results.dir={tmp_path}"]
    )  # fmt: skip
    (extra,) = extras_of(run)
    assert extra.about == "crosscoder: base, oproj_zeroed of lab"
    assert "written" in extra.measure()
    page = (tmp_path / "crosscoder" / "lab" / "crosscoder.md").read_text()
    assert "**B**: oproj_zeroed" in page
    assert "null: A in every place" in page


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("crosscoder.models=[base,lab-base]", "base is a variant and lab-base is none"),
        ("crosscoder.out=x", "out follows from the run"),
        ("crosscoder.latents=3", "latents"),
        ("crosscoder.models=[]", "no models"),
        ("crosscoder.training.kind=top", "training.kind"),
    ],
)
def test_settings_of_a_run_are_checked_first(override, message):
    with pytest.raises(ValueError, match=message):
        extras_of(compose_run(["model=lab", "variants=[]", "crosscoder.models=[lab-base]", override]))


@pytest.mark.parametrize("name", ["ctt_pythia", "ctt_olmo", "ctt_bloom"])
def test_experiments_have_the_papers_settings_and_run_on_the_lab(name):
    (paper,) = crosscoder_configs(compose_run([f"experiment={name}"])).values()
    training = paper.training
    assert (training.latents, training.tokens, training.batch, training.rate) == (16384, 400_000_000, 4096, 5e-5)
    assert (training.l1, training.decoder_norm, paper.seeds, len(paper.models)) == (2.0, 0.08, [124, 153, 6582], 3)
    assert paper.layer == {"ctt_bloom": 12}.get(name, 8)
    assert [len(block.rows) for block in paper.published] == [8]
    assert all(len(row.models) == len(row.increase) for row in paper.published[0].rows)
    (lab,) = crosscoder_configs(compose_run([f"experiment={name}", "model=lab"])).values()
    (own,) = crosscoder_configs(compose_run(["experiment=ctt_lab"])).values()
    settled = replace(lab, out=own.out, published=[], analysis=own.analysis, dtype=own.dtype)
    assert settled == own


def test_checks():
    fine = StudyConfig(models=["lab-base"])
    check(fine)
    for changes, message in (
        ({"models": []}, "no models"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"measure": "r"}, "measure"),
    ):
        with pytest.raises(ValueError, match=message):
            check(replace(fine, **changes))


def test_bad_input_on_the_command_line(capsys, tmp_path):
    for given, message in (
        (["models=[nowhere]"], "unknown model 'nowhere'"),
        (["models=[lab-base]", "pairs.tasks=[lab:nothing]"], "the lab has no 'nothing'"),
        (["models=[lab-base]", f"pairs.tasks=[{tmp_path}/x]"], "no file or folder"),
        (["models=[lab-base]", "layer=9", f"out={tmp_path}"], "layers 0 to 3"),
        (["models=[lab-base,lab-base-step@]"], "NAME@REVISION"),
        (["models=[lab-base]", "dtype=foo"], "dtype='foo'"),
        (["models=[lab-base]", "training.l1=nan"], "training.l1=nan"),
        (["models=[lab-base]", "analysis.seed=-1"], "analysis.seed=-1"),
        (["models=[lab-base]", "pairs.most=0"], "pairs.most=0"),
        (["models=[lab-base]", "pairs.tasks=[a/x.tsv,b/x.tsv]"], "share the folder x"),
    ):
        assert main(given) == 2
        assert message in capsys.readouterr().err
    assert main(["--help"]) == 0


def test_a_revision_is_part_of_a_name():
    name, config = compose_model("EleutherAI/pythia-1b@step512")
    assert (name, config.path, config.revision) == ("EleutherAI--pythia-1b@step512", "EleutherAI/pythia-1b", "step512")
    assert compose_model("EleutherAI/pythia-1b")[1].revision is None


def test_folders_of_tasks():
    assert task_folder("lab:agreement") == "lab-agreement"
    assert task_folder("data/marvin_linzen.jsonl.gz") == "marvin_linzen"
    assert task_folder("data/blimp") == "blimp"
