import datasets
import pytest
from PIL import Image

from harness.data import DataSource
from harness.tasks import mirror


@pytest.fixture
def hub(data_root, monkeypatch):
    """A hub made of the real files: every set has all its splits."""
    source = DataSource("mirror", data_root / "mirror")

    def load_dataset(path, name=None, **kwargs):
        folder = data_root / "mirror" / path / (name or "default")
        opened = source.open(path, name, "hub")
        return datasets.DatasetDict({f.name.split(".")[0]: opened[f.name.split(".")[0]] for f in folder.iterdir()})

    monkeypatch.setattr("harness.data.datasets.load_dataset", load_dataset)
    return source


def test_mirror_holds_what_the_tasks_read_and_no_more(hub, tmp_path):
    mirror.fill(["gsm8k", "arc_challenge", "humaneval"], tmp_path)
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert files == [
        "allenai/ai2_arc/ARC-Challenge/test.jsonl.gz",
        "allenai/ai2_arc/ARC-Challenge/train.jsonl.gz",
        "openai/gsm8k/main/test.jsonl.gz",
        "openai/gsm8k/main/train.jsonl.gz",
        "openai/openai_humaneval/default/test.jsonl.gz",
    ]
    ours = DataSource("mirror", tmp_path).open("openai/gsm8k", "main", "t")["test"].to_list()
    assert ours == hub.open("openai/gsm8k", "main", "t")["test"].to_list()


def test_filling_again_writes_nothing_and_the_bytes_are_the_same(hub, tmp_path):
    first = mirror.fill(["gsm8k"], tmp_path / "a")
    assert mirror.fill(["gsm8k"], tmp_path / "a") == []
    second = mirror.fill(["gsm8k"], tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_interrupted_write_leaves_no_file(hub, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.tasks.mirror.json.dumps", broken)
    with pytest.raises(KeyboardInterrupt):
        mirror.fill(["gsm8k"], tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_without_a_hub_it_says_so(tmp_path, capsys):
    assert mirror.main(["--tasks", "gsm8k", "--out", str(tmp_path)]) == 2
    assert "task gsm8k: data set 'openai/gsm8k'" in capsys.readouterr().err
    assert mirror.main(["--tasks", "gsm9k", "--out", str(tmp_path)]) == 2
    assert "unknown task or suite 'gsm9k'" in capsys.readouterr().err


def test_what_variants_learn_from_is_written_when_asked_for(hub, tmp_path):
    mirror.fill(["mbpp"], tmp_path / "a")
    assert not (tmp_path / "a/google-research-datasets/mbpp/full/train.jsonl.gz").exists()
    mirror.fill(["mbpp"], tmp_path / "b", training=True)
    assert (tmp_path / "b/google-research-datasets/mbpp/full/train.jsonl.gz").exists()


def test_images_are_written_as_images(tmp_path, monkeypatch):
    picture = Image.new("RGB", (4, 3), (250, 10, 20))
    rows = {"image": [picture], "question": ["What colour is it?"], "answers": [["red"] * 10]}
    made = datasets.Dataset.from_dict(rows)
    monkeypatch.setattr("harness.data.datasets.load_dataset", lambda **_: {"train": made, "validation": made})
    (train, tested) = sorted(mirror.fill(["textvqa"], tmp_path))
    assert (train.name, tested.name) == ("train.parquet", "validation.parquet")
    (row,) = DataSource("mirror", tmp_path).open("lmms-lab/textvqa", None, "t")["validation"]
    assert row["image"].tobytes() == picture.tobytes()
    assert row["question"] == "What colour is it?"
    assert mirror.fill(["textvqa"], tmp_path) == []
