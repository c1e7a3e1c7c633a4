import gzip
import json

import datasets
import pytest

from harness.data import DataSource, MissingDataError, rows_digest

ROWS = [{"question": f"q{i}", "answer": i, "nested": {"a": [1, 2]}} for i in range(3)]


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "owner" / "set" / "main"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    with gzip.open(folder / "test.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(r) + "\n" for r in ROWS))
    datasets.Dataset.from_list(ROWS).to_parquet(str(folder / "validation.parquet"))
    return tmp_path


@pytest.mark.parametrize("split", ["train", "test", "validation"])
def test_every_format_gives_the_same_rows(mirror, split):
    assert DataSource("mirror", mirror).open("owner/set", "main", "t")[split].to_list() == ROWS


def test_missing_split_says_what_and_where(mirror):
    with pytest.raises(
        MissingDataError,
        match=r"task t: split 'dev' of data set 'owner/set' \(name 'main'\).*owner/set/main/dev.*there: test.jsonl.gz",
    ):
        DataSource("mirror", mirror).open("owner/set", "main", "t")["dev"]


def test_missing_set_says_so(mirror):
    with pytest.raises(MissingDataError, match=r"name 'default'.*does not exist"):
        DataSource("mirror", mirror).open("owner/other", None, "t")["test"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{broken", "is not JSON"),
        ("[1, 2]", "is a list, expected an object"),
        ('{"question": 5}', ": column 'question' holds a int, lines before it a str"),
    ],
)
def test_bad_line_is_named_by_file_and_number(mirror, line, text):
    file = mirror / "owner" / "set" / "main" / "train.jsonl"
    file.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(ValueError, match=rf"train.jsonl: line 2{text if text.startswith(':') else ' ' + text}"):
        DataSource("mirror", mirror).open("owner/set", "main", "t")["train"]


def test_truncated_gzip_is_named(mirror):
    file = mirror / "owner" / "set" / "main" / "test.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"test.jsonl.gz: after line"):
        DataSource("mirror", mirror).open("owner/set", "main", "t")["test"]


def test_root_must_be_a_folder(tmp_path):
    with pytest.raises(ValueError, match=r"data.root '.*nowhere' is not a folder"):
        DataSource("mirror", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="expected 'hub' or 'mirror'"):
        DataSource("disk")


def test_hub_that_is_not_there_fails_at_once_and_says_how_to_go_on():
    with pytest.raises(MissingDataError, match=r"task t: data set 'nobody/nothing'.*data=mirror"):
        DataSource("hub").open("nobody/nothing", None, "t")


def test_digest_follows_rows():
    assert rows_digest(ROWS) == rows_digest([dict(reversed(r.items())) for r in ROWS])
    assert rows_digest(ROWS) != rows_digest(ROWS[::-1])
