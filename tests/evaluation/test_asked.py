"""What documents were asked: kept once, in words, found by what outcomes hold."""

import gzip

import numpy as np
import pytest
from lm_eval.utils import hash_string

from harness.config.compose import compose_run
from harness.evaluation.asked import Asked, AskedStore, asked_in
from harness.evaluation.bench import Bench
from harness.evaluation.grid import plan_grid


def test_every_outcome_of_a_run_finds_its_words(tmp_path):
    options = ["model=lab-base", "variants=[base,oproj_zeroed]", "tasks=[lab_gsm8k,lab_arc,ioi]", "limit=9"]
    bench = Bench(plan_grid(compose_run([*options, f"results.dir={tmp_path}"])))
    for planned in bench.grid.cells:
        bench.evaluate(planned)
        asked = AskedStore(tmp_path).read(planned.name.task)
        for outcome in bench.store.outcomes(planned.name):
            one = asked[outcome.subtask, outcome.doc_id, outcome.prompt_hash]
            assert hash_string(one.prompt) == outcome.prompt_hash
            assert len(one.choices) == {"lab_gsm8k": 0, "lab_arc": 4, "ioi": 2}[planned.name.task]
            assert one.target
    assert len(asked) == 9


def one(i, prompt="p\u2028\n", **more):
    return Asked("t", i, f"h{i}", prompt, "x", **more)


def test_what_is_there_stays_and_nothing_stands_twice(tmp_path):
    AskedStore(tmp_path).add("t", [one(0), one(1)])
    before = AskedStore(tmp_path).path("t").read_bytes()
    store = AskedStore(tmp_path)
    store.add("t", [one(1), one(0)])
    assert store.path("t").read_bytes() == before
    store.add("t", [one(1, prompt="other"), one(2)])
    assert [a.doc_id for a in store.read("t").values()] == [0, 1, 2]
    assert store.read("t")["t", 1, "h1"].prompt == "p\u2028\n"
    assert store.read("u") == {}


def test_a_damaged_file_is_named_and_written_again(tmp_path):
    store = AskedStore(tmp_path)
    store.add("t", [one(0)])
    for content in (b"nonsense", gzip.compress(b'{"subtask": 1}\n'), store.path("t").read_bytes()[:-9]):
        store.path("t").write_bytes(content)
        with pytest.raises(ValueError, match="holds no asked documents"):
            AskedStore(tmp_path).read("t")
    AskedStore(tmp_path).add("t", [one(0), one(1)])
    assert len(AskedStore(tmp_path).read("t")) == 2


def test_what_can_be_read_of_a_damaged_file_is_kept(tmp_path, caplog):
    store = AskedStore(tmp_path)
    store.add("t", [one(i) for i in range(40)])
    lines = gzip.decompress(store.path("t").read_bytes()).splitlines(keepends=True)
    lines[3] = b'{"subtask": "\xff"}\n'
    store.path("t").write_bytes(gzip.compress(b"".join(lines))[:-9])
    AskedStore(tmp_path).add("t", [one(50)])
    there = {a.doc_id for a in AskedStore(tmp_path).read("t").values()}
    assert there >= {0, 1, 2, 4, 50}
    assert 3 not in there
    assert f"{len(there) - 1} documents of it could be read" in caplog.text
    assert len(list((tmp_path / "asked").glob("t.jsonl.gz.damaged-*"))) == 1


def test_arguments_of_any_shape():
    row = {
        "doc_id": 3,
        "prompt_hash": "h",
        "target": ["a", 1],
        "arguments": [("q", {"until": ["\n"]}, {"visual": [b"x"]})],
    }
    assert asked_in({"t": [row, row]}) == [Asked("t", 3, "h", "q", '["a", 1]', [])]
    odd = asked_in({"t": [{**row, "doc": {"n": np.int64(3), "image": b"x" * 9, "text": "\u2028"}}]})[0]
    assert odd.doc == {"n": 3, "image": "<bytes>", "text": "\u2028"}
    choices = [("q", " yes"), ("q", " no")]
    assert asked_in({"t": [{**row, "arguments": choices, "target": 0}]})[0].choices == [" yes", " no"]
