import json
import xml.etree.ElementTree as ET

import pytest
from conftest import tiny

from harness.stethoscope.delta import main


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    out = tmp_path_factory.mktemp("delta")
    assert main(["base=lab-base", f"out={out}"]) == 0
    return out


def test_page_says_what_moved_and_what_made_it(lab):
    page = (lab / "delta.md").read_text()
    for text in (
        "lab-base (A) to lab-reasoner (B)",
        "| o_proj ",
        "q_proj bias",
        "attention, by norm",
        "seed",
        "versions",
    ):
        assert text in page
    # The head is the embedding's tensor in both models: it is not counted twice.
    assert "| head" not in page


def test_records_hold_every_tensor_whole(lab):
    record = json.loads((lab / "delta.json").read_text())
    rows = record["rows"]
    assert len(rows) == 4 * 7 + 9 + 1 + 3 * 4
    for row in rows:
        defined = round(row["elements"] * (1 - row["undefined"]))
        assert sum(row["counts"]) + round(row["outside"] * defined) == defined
        assert (row["modality"] is None) == (sum(row["counts"]) < 1000)
    leaders = {
        layer: max(
            (r for r in rows if r["layer"] == layer and r["name"].endswith("proj.weight")), key=lambda r: r["norm"]
        )
        for layer in range(4)
    }
    text = (lab / "delta.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("- all linear parts, by norm"))
    for part in {r["part"] for r in leaders.values()}:
        assert f"{part} in {sum(r['part'] == part for r in leaders.values())} of 4 layers" in line


def test_figures_are_figures_and_the_same_again(lab, tmp_path):
    for name in ("heatmap", "histograms"):
        assert (lab / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert ET.parse(lab / f"{name}.svg").getroot().tag.endswith("svg")
    assert main(["base=lab-base", "parts=[attention]", f"out={tmp_path}"]) == 0
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert main(["base=lab-base", "parts=[attention]", f"out={tmp_path}"]) == 0
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["base=nothing"], "unknown model 'nothing'"),
        (["base=lab-base", "other=nobody/nothing"], "cannot find 'nobody/nothing'"),
        (["base=lab-base", "parts=[oproj]"], "unknown part 'oproj'; known: q_proj"),
        (["base=lab-base", "layers='7:9'"], "the model has layers 0 to 3"),
        (["base=lab-base", "prats=[o_proj]"], "prats"),
        (["lab-base"], "expected key=value; keys: base, other"),
        (["base=lab-base", "every=many"], "every"),
        (["base=lab-base", "every=0"], "every"),
    ],
)
def test_mistakes_are_one_sentence(arguments, words, capsys, tmp_path):
    assert main([*arguments, f"out={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert not (tmp_path / "out").exists()


def test_model_without_donor(tmp_path, capsys):
    tiny("llama").save_pretrained(tmp_path / "alone")
    assert main([f"base={tmp_path / 'alone'}"]) == 2
    assert "nothing to compare alone with: its config names no donor; give other=" in capsys.readouterr().err


def test_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["base=lab-base", "parts=[norm]", f"out={tmp_path / 'file' / 'out'}"]) == 2
    assert "file" in capsys.readouterr().err


def test_untied_head_of_one_model(tmp_path, capsys):
    tiny("llama", tie_word_embeddings=True).save_pretrained(tmp_path / "tied")
    tiny("llama", tie_word_embeddings=False).save_pretrained(tmp_path / "untied")
    given = [f"base={tmp_path / 'tied'}", f"other={tmp_path / 'untied'}", f"out={tmp_path / 'out'}", "figures=false"]
    assert main(given) == 0
    assert "| head" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("*.png"))
