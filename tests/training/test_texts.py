import json

import pytest

from harness.config.training import TextsConfig
from harness.data import DataSource
from harness.training import Text, read_texts
from harness.training.texts import digest_of

ROWS = [{"q": "1+1?", "a": "2", "all": "<u>1+1?<a>2"}, {"q": "2+2?", "a": "4", "all": "<u>2<a>+2?<a>4"}]


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mine" / "sums" / "default"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return DataSource("mirror", tmp_path)


def read(mirror, **config):
    return read_texts(TextsConfig(path="mine/sums", **config), mirror)


def test_columns_templates_and_dividers(mirror):
    assert read(mirror, prompt="q", completion="a")[1] == Text("2+2?", "4")
    assert read(mirror, prompt="Q: {q}\n", completion=" {a}.")[0] == Text("Q: 1+1?\n", " 2.")
    # The last place counts: what was said before may hold the divider too.
    assert read(mirror, prompt="all", divider="<a>")[1] == Text("<u>2<a>+2?<a>", "4")
    assert len(read(mirror, prompt="q", completion="a", limit=1)) == 1


def test_lab_texts_are_on_the_training_side():
    import harness.tasks.load  # noqa: F401 - registers the lab's data
    from harness.lab import corpus

    texts = read_texts(TextsConfig("harness/lab", "worked"), DataSource())
    assert len({t.prompt for t in texts}) == len(texts) == 2000
    rows = DataSource().open("harness/lab", "worked", "t")["train"]
    assert {r["source"] for r in rows} == {"problem", "symbolic", "program"}
    assert all(corpus.split_of(r["source"], r["prompt"]) == "train" for r in rows)
    with pytest.raises(ValueError, match="no data set 'worked'"):
        DataSource().open("harness/lab", "worked", "t")["test"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"prompt": "nothing"}, "row 0: no column 'nothing'; columns: q, a, all"),
        ({"prompt": "q", "completion": "{b}"}, "no column 'b'"),
        ({"prompt": "q", "divider": "<a>"}, "no '<a>' in column 'q'"),
        ({"prompt": "q", "completion": None}, "give a column of completions, or a divider"),
        ({"prompt": "q", "completion": "a", "split": "test"}, "split 'test'"),
    ],
)
def test_what_cannot_be_read_is_said(mirror, config, words):
    with pytest.raises(ValueError, match=words):
        read(mirror, **config)


def test_empty_completion_is_named(mirror, tmp_path):
    (tmp_path / "mine" / "sums" / "default" / "train.jsonl").write_text('{"q": "1", "a": " "}\n')
    with pytest.raises(ValueError, match="row 0: nothing to learn"):
        read(mirror, prompt="q", completion="a")


def test_digest_tells_texts_apart():
    assert digest_of([Text("ab", "c")]) != digest_of([Text("a", "bc")])
