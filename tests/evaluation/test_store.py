import dataclasses
import hashlib
import json

import pytest

from harness.evaluation.cells import CellName, CellResult, Outcome, file_name, identity_digest
from harness.evaluation.store import Store
from harness.files import atomic_write, write_text

COUNTS = ("prompt_tokens", "generated_tokens", "clipped_prompts", "clipped_budgets", "not_finite")
NAME = CellName("model", "merge(layers=0:2)", "task")


def result(name=NAME, digest="d1", **changes):
    fields = {
        "name": name,
        "digest": digest,
        "identity": {
            "model": "f",
            "patch": "p",
            "versions": {"torch": "2"},
            "data": "d",
            "shots": {"t": 0},
            **dict.fromkeys(("dtype", "seed", "limit", "max_length", "chat_template", "backend", "sandbox")),
        },
        "metric": "acc",
        "filter": "none",
        "chance": 0.25,
        "score": 0.5,
        "n": 2,
        "scores": {"acc,none": 0.5},
        "groups": {},
        "counts": dict.fromkeys(COUNTS, 0),
        "seconds": 1.5,
        "finished": "2026-11-21T00:00:00+00:00",
        "patch": {"method": "merge", "touched": 4, "total": 8, "trained": 0, "config": {}, "donors": {}},
        "settings": {"device": "cpu", "batch_size": 1, "command": "pytest"},
    }
    return CellResult(**{**fields, **changes})


def outcome(doc_id, acc, **changes):
    fields = {
        "subtask": "t",
        "doc_id": doc_id,
        "doc_hash": f"h{doc_id}",
        "prompt_hash": f"p{doc_id}",
        "filter": "none",
        "prediction": ["é"],
        "response": None,
        "metrics": {"acc": acc},
        "cluster": None,
        "generated_tokens": 0,
    }
    return Outcome(**{**fields, **changes})


def test_what_is_put_is_got(tmp_path):
    store = Store(tmp_path)
    outcomes = [outcome(0, 1.0), outcome(1, 0.0)]
    path = store.put(result(), outcomes)
    assert path == tmp_path / "cells" / "model" / "merge(layers=0-2)" / "task.json"
    stored = dataclasses.replace(result(), outcomes=hashlib.sha256(path.with_suffix(".jsonl").read_bytes()).hexdigest())
    assert store.get(NAME) == stored
    assert store.outcomes(NAME) == outcomes
    assert list(store) == [stored]
    assert store.get(dataclasses.replace(NAME, task="other")) is None


def test_another_identity_is_kept_aside(tmp_path):
    store = Store(tmp_path)
    store.put(result(), [outcome(0, 1.0)])
    store.put(result(digest="d2"), [outcome(0, 0.0)])
    assert store.get(NAME).digest == "d2"
    (old,) = (tmp_path / "replaced").rglob("task.json")
    assert json.loads(old.read_text())["digest"] == "d1"
    assert old.with_suffix(".jsonl").is_file()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_target_is_unchanged_on_exception(tmp_path, error):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(error), atomic_write(target) as file:
        file.write("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_leaves_the_old_cell_whole(tmp_path, monkeypatch):
    store = Store(tmp_path)

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put(result(), [outcome(0, 1.0)])
    assert store.get(NAME) is None
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_cell_without_its_json_is_not_there(tmp_path):
    """Killed between the two files: the outcomes lie there, the cell does not."""
    store = Store(tmp_path)
    path = store.put(result(), [outcome(0, 1.0)])
    path.unlink()
    assert store.get(NAME) is None


@pytest.mark.parametrize("text", ["", "{", '{"format": 99}', '{"format": 1, "name": {}}'])
def test_damaged_cell_is_named_with_the_way_out(tmp_path, text):
    store = Store(tmp_path)
    write_text(store.path(NAME), text)
    with pytest.raises(ValueError, match=r"task.json is not a stored cell.*Delete it"):
        store.get(NAME)


@pytest.mark.parametrize("change", [lambda t: t[:40], lambda t: t.replace("1.0", "0.0"), lambda t: t + t])
def test_outcomes_that_were_changed_make_it_no_cell(tmp_path, change):
    store = Store(tmp_path)
    path = store.put(result(), [outcome(0, 1.0)]).with_suffix(".jsonl")
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=r"task.jsonl, are not those that were stored with it. Delete it to run"):
        store.get(NAME)


def test_cell_without_its_outcomes_is_not_there(tmp_path):
    store = Store(tmp_path)
    store.put(result(), [outcome(0, 1.0)]).with_suffix(".jsonl").unlink()
    assert store.get(NAME) is None


def test_cell_of_a_version_without_the_digest_is_read(tmp_path):
    store = Store(tmp_path)
    path = store.put(result(), [outcome(0, 1.0)])
    content = json.loads(path.read_text())
    del content["outcomes"]
    path.write_text(json.dumps(content))
    assert store.get(NAME) == result()


def test_damaged_outcomes_are_named_by_line(tmp_path):
    store = Store(tmp_path)
    path = store.put(result(), [outcome(0, 1.0)]).with_suffix(".jsonl")
    path.write_text(path.read_text() + "{broken\n")
    with pytest.raises(ValueError, match=r"task.jsonl: line 2"):
        store.outcomes(NAME)
    path.unlink()
    with pytest.raises(ValueError, match="outcomes of cell model/merge"):
        store.outcomes(NAME)


def test_file_names_hold_no_separators():
    assert file_name("a/b c:d(e=1,2)+x") == "a-b-c-d(e=1,2)+x"


def test_identity_digest_sees_every_key():
    one = {"a": 1, "b": {"c": 2}}
    assert identity_digest(one) == identity_digest({"b": {"c": 2}, "a": 1})
    assert identity_digest(one) != identity_digest({"a": 1, "b": {"c": 3}})
