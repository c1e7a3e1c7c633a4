"""Minimal pairs: every form of file, what is left out, and what is refused."""

import gzip
import json

import pytest
import torch
from crosscoder_support import NO_SINKS, tokenizer

from harness.config.crosscoder import PairsConfig
from harness.crosscoder.asked import items_of
from harness.crosscoder.items import Pair, encode, lab_pairs
from harness.crosscoder.pair_files import read_pairs
from harness.lab import corpus


class TestFiles:
    def read(self, tmp_path, name, text):
        (tmp_path / name).write_text(text)
        return read_pairs(tmp_path / name)

    def lines(self, *rows):
        return "".join(json.dumps(row) + "\n" for row in rows)

    def test_our_own(self, tmp_path):
        pairs, left_out = self.read(
            tmp_path, "a.jsonl", self.lines({"prefix": "The boy", "right": " is", "wrong": " are"})
        )
        assert pairs == [Pair("The boy", " is", " are", "a", "The boy")]
        assert not left_out

    def test_feature_circuits(self, tmp_path):
        row = {
            "clean_prefix": "The boy",
            "patch_prefix": "The boys",
            "clean_answer": " is",
            "patch_answer": " are",
            "case": "s",
        }
        assert self.read(tmp_path, "a.json", json.dumps([row]))[0] == [Pair("The boy", " is", " are", "s", "The boy")]

    def test_blimp(self, tmp_path):
        row = {"sentence_good": "The boy runs.", "sentence_bad": "The boy run.", "UID": "u", "one_prefix_method": True}
        other = {**row, "one_prefix_method": False}
        pairs, left_out = self.read(tmp_path, "a.jsonl", self.lines(row, other))
        assert pairs == [Pair("The boy", " runs.", " run.", "u", "The boy")]
        assert left_out == {"no common prefix (one_prefix_method is false)": 1}

    def test_marvin_and_linzen_and_multiblimp(self, tmp_path):
        rows = (
            {"good": "the boy is tall", "bad": "the boy are tall", "task": "t"},
            {"sen": "a b c", "wrong_sen": "a d c"},
        )
        pairs, _ = self.read(tmp_path, "a.jsonl", self.lines(*rows))
        assert [(p.prefix, p.right, p.wrong, p.group) for p in pairs] == [
            ("the boy", " is", " are", "t"),
            ("a", " b", " d", "a"),
        ]

    def test_sentences_that_differ_again_are_left_out(self, tmp_path):
        rows = [{"good": good, "bad": bad} for good, bad in (("a b c", "a d e"), ("a b", "c b"), ("a b", "a b"))]
        pairs, left_out = self.read(tmp_path, "a.jsonl", self.lines(*rows))
        assert not pairs
        assert sum(left_out.values()) == 3

    def test_clams(self, tmp_path):
        text = "True\tthe boy runs\nFalse\tthe boy run\nTrue\tthe girl is\nFalse\tthe girl are\n"
        pairs, _ = self.read(tmp_path, "simple.txt", text)
        assert [(p.prefix, p.right, p.wrong) for p in pairs] == [
            ("the boy", " runs", " run"),
            ("the girl", " is", " are"),
        ]
        assert {p.group for p in pairs} == {"simple"}

    def test_table_with_a_head(self, tmp_path):
        pairs, _ = self.read(tmp_path, "a.tsv", "phenomenon\tsen\twrong_sen\nSV-#\tel gato come\tel gato comen\n")
        assert pairs == [Pair("el gato", " come", " comen", "SV-#", "el gato")]

    def test_a_line_is_ended_by_a_newline_alone(self, tmp_path):
        (tmp_path / "a.jsonl").write_text(
            '{"prefix": "a\u2028b", "right": " c", "wrong": " d"}\r\n', encoding="utf-8-sig"
        )
        assert read_pairs(tmp_path / "a.jsonl")[0][0].prefix == "a\u2028b"

    def test_folders_below(self, tmp_path):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "one.jsonl").write_text(self.lines({"prefix": "a", "right": " b", "wrong": " c"}))
        assert len(read_pairs(tmp_path)[0]) == 1

    def test_a_folder_with_gzip(self, tmp_path):
        row = self.lines({"prefix": "a", "right": " b", "wrong": " c"})
        (tmp_path / "one.jsonl.gz").write_bytes(gzip.compress(row.encode()))
        (tmp_path / "two.jsonl").write_text(row)
        (tmp_path / "README.md").write_text("no pairs")
        assert [p.group for p in read_pairs(tmp_path)[0]] == ["one", "two"]

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("a.jsonl", "{\n", "line 1 is not JSON"),
            ("a.jsonl", "3\n", "line 1: a int"),
            ("a.jsonl", '{"x": 1}\n', "no pair: columns x; known forms"),
            ("a.jsonl", '{"prefix": "a", "right": "", "wrong": "b"}\n', "right is ''"),
            ("a.json", "{}", "expected a list"),
            ("a.tsv", "sen\twrong_sen\na\n", "1 columns, the head has 2"),
            ("a.txt", "False\ta\n", "before any right one"),
            ("a.bin", "", "no file of pairs"),
        ],
    )
    def test_what_is_refused(self, tmp_path, name, text, message):
        with pytest.raises(ValueError, match=message):
            self.read(tmp_path, name, text)

    def test_real_files(self, data_root):
        blimp = data_root / "mirror" / "nyu-mll" / "blimp"
        pairs, left_out = read_pairs(blimp / "regular_plural_subject_verb_agreement_1")
        assert len(pairs) == 1000 and not left_out
        assert read_pairs(blimp / "regular_plural_subject_verb_agreement_2")[1] == {
            "no common prefix (one_prefix_method is false)": 1000
        }
        pairs, _ = read_pairs(data_root / "syneval" / "featurecircuits_sva_nounpp_test.jsonl.gz")
        assert len(pairs) == 480
        pairs, left_out = read_pairs(data_root / "syneval" / "marvin_linzen.jsonl.gz")
        assert len(pairs) + sum(left_out.values()) == 158084


class TestItems:
    def test_tokens_by_hand(self):
        pairs = [Pair("w2 w3", " w4", " w5", "g", "c1"), Pair("w2", " w6", " w7", "h", "c2")]
        items = encode(pairs, tokenizer(), NO_SINKS, True)
        assert items.rows.ids_RT.tolist() == [[2, 3], [2, 0]]
        assert items.ends_I.tolist() == [1, 0]
        assert (items.right_I.tolist(), items.wrong_I.tolist()) == ([4, 6], [5, 7])
        assert items.rows.kept_RT.tolist() == [[False, True], [False, False]]
        assert items.clusters == (0, 1)

    def test_what_both_share_goes_to_the_prefix(self):
        items = encode([Pair("w2", " w3 w4", " w3 w5", "g", "c")], tokenizer(), NO_SINKS, True)
        assert items.rows.ids_RT.tolist() == [[2, 3]]
        assert (items.right_I.tolist(), items.wrong_I.tolist()) == ([4], [5])

    @pytest.mark.parametrize(
        ("right", "wrong", "reason"),
        [
            (" w3 w4", " w3", "differ in their number"),
            (" w3 w4 w5", " w3 w4 w6", "more than 2"),
            (" w3", " w3", "same tokens"),
        ],
    )
    def test_what_is_left_out(self, right, wrong, reason):
        fits = Pair("w2", " w3", " w4", "g", "c")
        items = encode([fits, Pair("w2", right, wrong, "g", "c")], tokenizer(), NO_SINKS, True)
        assert len(items) == 1
        assert [reason in told for told in items.left_out] == [True]
        with pytest.raises(ValueError, match="none of the 1 pairs"):
            encode([Pair("w2", right, wrong, "g", "c")], tokenizer(), NO_SINKS, True)

    def test_so_many_of_each_group_that_fit(self):
        bad = Pair("w2", " w3", " w3", "g", "c")
        fine = [Pair(f"w{i}", " w40", " w41", "gh"[i % 2], str(i)) for i in range(2, 32)]
        few = encode([bad, *fine, bad], tokenizer(), NO_SINKS, True, 5, 0)
        assert [few.groups.count(g) for g in "gh"] == [5, 5]
        assert list(few.pairs) == [p for p in fine if p in few.pairs], "in their order"
        again = encode([bad, *fine, bad], tokenizer(), NO_SINKS, True, 5, 1)
        assert again.pairs != few.pairs
        assert len(encode(fine, tokenizer(), NO_SINKS, True)) == 30

    def test_differences(self):
        items = encode([Pair("w2", " w4", " w5", "g", "c")], tokenizer(), NO_SINKS, True)
        logits = torch.zeros(1, 64)
        logits[0, 4], logits[0, 5] = 3.0, 1.0
        assert items.differences(logits, slice(0, 1)).tolist() == [2.0]


class TestLab:
    def test_pairs_are_of_the_test_side_and_differ(self):
        pairs = lab_pairs("agreement", 150, 0)
        assert len({(p.prefix, p.right) for p in pairs}) == len(pairs) == 150
        assert all(corpus.split_of("agreement", p.cluster) == "test" for p in pairs)

    def test_it_ends_where_there_are_no_more(self):
        assert 300 < len(lab_pairs("agreement", 10**6, 0)) < 400

    def test_groups_and_tasks_that_are_not_there(self, tmp_path):
        with pytest.raises(ValueError, match="lab task 'x'"):
            items_of("lab:x", PairsConfig(), tokenizer(), True)
        with pytest.raises(ValueError, match="no file or folder"):
            items_of(str(tmp_path / "none"), PairsConfig(), tokenizer(), True)
        with pytest.raises(ValueError, match="has no 'z'; it has differs, same"):
            items_of("lab:agreement", PairsConfig(groups=["z"]), tokenizer(), True)
