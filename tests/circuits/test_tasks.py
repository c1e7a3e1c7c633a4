"""The circuit tasks with real tokenizers: what is equal, what differs, and what is left out and counted."""

import gzip
import json
import random
from collections import Counter

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GPT2TokenizerFast, PreTrainedTokenizerFast

from harness.circuits.metrics import METRICS, measure
from harness.circuits.prompts import NO_TOKEN, Prompts
from harness.circuits.tasks import TASKS, draw_sets
from harness.circuits.tasks.encode import Encoder, UnfitError
from harness.circuits.tasks.files import file_sets, read_pairs
from harness.circuits.tasks.pairs import Pair
from harness.circuits.tasks.rows import names, rows
from harness.circuits.tasks.sets import MODULES, drawing, is_test
from harness.circuits.tasks.spelling import Spelling
from harness.config.paths import LAB_WEIGHTS


@pytest.fixture(scope="module")
def lab():
    return AutoTokenizer.from_pretrained(LAB_WEIGHTS / "lab-base")


@pytest.fixture(params=["gpt2", "neox", "stories260K"])
def real(request, data_root, tmp_path):
    """Tokenizers of the models that the literature looks at, and one of 512 tokens."""
    folder = data_root / "tokenizers"
    if request.param == "gpt2":
        for name in ("vocab.json", "merges.txt"):
            (tmp_path / name).write_bytes(gzip.decompress((folder / f"gpt2_{name}.gz").read_bytes()))
        return GPT2TokenizerFast(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    if request.param == "neox":
        text = gzip.decompress((folder / "neox_20B_tokenizer.json.gz").read_bytes()).decode()
        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text))
    return AutoTokenizer.from_pretrained(data_root / "models" / "stories260K")


def check(sets, task):
    """What holds of every set of prompts."""
    seen = []
    for prompts in (sets.find, sets.verify, sets.means):
        rows = torch.arange(len(prompts))
        inside = torch.arange(prompts.clean_NT.shape[1]) <= prompts.ends_N[:, None]
        differ = (prompts.clean_NT != prompts.corrupt_NT) & inside
        assert differ.any(dim=1).all(), "no clean prompt is its corrupt twin"
        assert (prompts.starts_N == differ.int().argmax(dim=1)).all()
        assert (prompts.places["END"] == prompts.ends_N).all()
        for name, places in prompts.places.items():
            assert (places <= prompts.ends_N).all(), name
        for right, wrong in zip(prompts.right_NA.tolist(), prompts.wrong_NA.tolist(), strict=True):
            assert not ({*right} - {NO_TOKEN}) & {*wrong}
        seen += [
            tuple(row[: end + 1]) for row, end in zip(prompts.clean_NT.tolist(), prompts.ends_N.tolist(), strict=True)
        ]
        assert prompts.clean_NT[rows, prompts.ends_N].shape == (len(prompts),)
    assert len(set(seen)) == len(seen), "the three sets share no prompt"


@pytest.mark.parametrize("task", TASKS)
def test_sets_of_the_lab(lab, task):
    for corruption in MODULES[task].CORRUPTIONS:
        if (task, corruption) == ("pronouns", "person"):
            continue  # the lab's tokenizer writes the person as several tokens
        sets = draw_sets(task, lab, "lab", corruption, find=20, verify=30, means=30, seed=3)
        check(sets, task)
        again = draw_sets(task, lab, "lab", corruption, find=20, verify=30, means=30, seed=3)
        assert sets.record() == again.record()
        assert (
            draw_sets(task, lab, "lab", corruption, find=20, verify=30, means=30, seed=4).find.digest
            != sets.find.digest
        )


@pytest.mark.parametrize("task", TASKS)
def test_sets_of_the_literature(real, task):
    if task == "induction" and real.vocab_size == 512:
        with pytest.raises(ValueError, match=r"names: 5 of equally many tokens \(2\) are needed"):
            draw_sets(task, real)
        return
    check(draw_sets(task, real, find=20, verify=30, means=30), task)


def test_ioi_names_are_three_others(lab):
    draw = drawing("ioi", "lab", lab, "abc").draw
    rng = random.Random(0)
    known = set(MODULES["ioi"].LAB.names)
    for _ in range(300):
        pair = draw(rng)
        clean = [w for w in pair.clean.replace(",", "").replace(".", "").split() if w in known]
        corrupt = [w for w in pair.corrupt.replace(",", "").replace(".", "").split() if w in known]
        assert Counter(clean).most_common(1)[0][1] == 2
        assert len(set(corrupt)) == 3 and not set(corrupt) & set(clean)
        io, s = pair.right[0].strip(), pair.wrong[0].strip()
        assert clean[:2] == ([io, s] if pair.template.startswith("ABBA") else [s, io]) and clean[2] == s
        assert all(pair.clean[a:b] in (io, s) for a, b in pair.places.values())


def test_both_orders_and_all_templates_come(lab):
    sets = draw_sets("ioi", lab, "lab", find=300, verify=2, means=2)
    counts = Counter(sets.find.templates)
    assert len(counts) == 12
    assert 110 < sum(n for t, n in counts.items() if t.startswith("ABBA")) < 190


def test_greater_than_counts_years_as_the_tokenizer_writes_them(lab, real):
    """Digits: right are digits above YY's first; two digits: all years above YY, wrong YY and those below."""
    tokenizer = real
    sets = draw_sets("greater_than", tokenizer, find=50, verify=10, means=10)
    prompts = sets.find
    for n in range(50):
        text = tokenizer.decode(prompts.clean_NT[n, : prompts.ends_N[n] + 1]).replace("<s> ", "")
        year = int(text.split(" to the year")[0].split()[-1])
        right = [int(tokenizer.decode([t])) for t in prompts.right_NA[n].tolist() if t != NO_TOKEN]
        wrong = [int(tokenizer.decode([t])) for t in prompts.wrong_NA[n].tolist() if t != NO_TOKEN]
        if sets.counts["asked for"] == "the next digit":
            assert set(right) == set(range(year % 100 // 10 + 1, 10)) and set(wrong) == set(range(year % 100 // 10))
        else:
            assert set(right) == set(range(year % 100 + 1, 100)) and set(wrong) == set(range(year % 100 + 1))
        above, below = (int(tokenizer.decode([t])) for t in prompts.edges_N2[n].tolist())
        assert above == min(right) and below == max(w for w in wrong if w < year % 100)
        corrupt = tokenizer.decode(prompts.corrupt_NT[n, : prompts.ends_N[n] + 1])
        assert f"{year // 100}01 to" in corrupt


def test_the_prompts_of_the_lab_are_those_it_was_trained_on():
    from harness.lab import sentences

    rng = random.Random(0)
    draws = {task: drawing(task, "lab", None, None).draw for task in TASKS}
    ours = {task: {draw(rng).clean for _ in range(4000)} for task, draw in draws.items()}
    names = {"pronouns": "pronoun"}
    for task in ("ioi", "greater_than", "pronouns"):
        theirs = {sentences.TASKS[names.get(task, task)](rng).prompt for _ in range(4000)}
        assert len(ours[task] & theirs) > 20, task
    shape = sentences.docstring(rng).prompt
    mine = next(iter(ours["docstring"]))
    assert [c for c in mine if not c.isalpha()] == [c for c in shape if not c.isalpha()]


def test_ready_prompts(lab, tmp_path):
    entries = [
        {"clean": f"When {a} and {b} went to the store, {a} gave a ring to",
         "corrupt": f"When {a} and {b} went to the store, {b} gave a ring to",
         "answers": [f" {b}"], "wrong_answers": f" {a}"}
        for a in ("Mary", "John", "Tom", "Anna", "Paul", "Lucy") for b in ("Mary", "John", "Tom", "Anna") if a != b
    ]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps({"prompts": entries}))
    lines = [{"clean_prefix": e["clean"], "patch_prefix": e["corrupt"], "clean_answer": e["answers"][0],
              "patch_answer": e["wrong_answers"], "case": "x"} for e in entries]  # fmt: skip
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, lines)))
    assert read_pairs(tmp_path / "a.json")[3].clean == read_pairs(tmp_path / "b.jsonl.gz")[3].clean
    sets = file_sets(tmp_path / "a.json", lab, find=5, verify=5, means=5)
    check(sets, "file")
    assert sets.counts["prompts"] == f"{len(entries)} of {len(entries)}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "prompt 1 is a int, expected an object"),
        ("{", "neither JSON nor JSON lines"),
        ("[]", "no list of prompts"),
        ('[{"clean": "a"}]', "prompt 1 has no 'corrupt'"),
        ('[{"clean": "a", "corrupt": 3, "answers": "b", "wrong_answers": "c"}]', "corrupt is a int"),
        ('[{"clean": "a", "corrupt": "b", "answers": [], "wrong_answers": "c"}]', "right answers"),
        ('[{"clean": "a b", "corrupt": "a c", "answers": " d", "wrong_answers": " e"}]', "too few prompts"),
    ],
)
def test_prompts_that_cannot_be_read(lab, tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        file_sets(tmp_path / "x.json", lab)
    with pytest.raises(ValueError, match="cannot be read"):
        read_pairs(tmp_path / "none.json")


def test_pairs_that_do_not_fit(lab):
    encoder = Encoder(lab, max_length=8)
    good = Pair("So Mary is", "So John is", (" a",), (" the",), "t", {"NAME": (3, 7)})
    assert encoder.encode(good).places == {"END": 2, "NAME": 1}
    for change, message in (
        ({"corrupt": "So John was here"}, "differ in length"),
        ({"corrupt": "So Mary is"}, "the same tokens"),
        ({"wrong": (" a",)}, "begin with the same token"),
        (
            {"clean": "So Mary is a very good doctor, isn't", "corrupt": "So John is a very good doctor, isn't"},
            "longer than 8",
        ),
    ):
        with pytest.raises(UnfitError, match=message):
            encoder.encode(Pair(**{**vars(good), **change}))


def test_too_few_prompts_are_said(lab, caplog):
    sets = draw_sets("pronouns", lab, "lab")
    assert "differ, 700 were asked for" in sets.counts["too few prompts"] in caplog.text
    assert len(sets.find) >= 30 and len(sets.verify) >= 60


def test_words_of_equally_many_tokens(lab):
    spelling = Spelling(lab)
    assert spelling.choose("names", ("Mary", "John", "Bartholomew"), 2) == ("Mary", "John")
    with pytest.raises(ValueError, match=r"names: 3 of equally many tokens are needed; .* 2 of 1 tokens"):
        spelling.choose("names", ("Mary", "John", "Bartholomew"), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "sva"}, "unknown circuit task 'sva'; known: ioi"),
        ({"words": "mine"}, "unknown words 'mine'; known: literature, lab"),
        ({"corruption": "zero"}, "unknown corruption 'zero'; known: abc"),
        ({"find": 1}, "two prompts at least"),
    ],
)
def test_settings_that_cannot_be(lab, change, message):
    with pytest.raises(ValueError, match=message):
        draw_sets(**{"task": "ioi", "tokenizer": lab, "words": "lab", **change})


def test_suites_ask_what_no_circuit_was_found_on():
    for name in names():
        test, train = rows(name, "test"), rows(name, "train")
        assert len(test) >= 30
        assert not {r["prompt"] for r in test} & {r["prompt"] for r in train}
        for row in test:
            assert row["choices"] == sorted(row["choices"]) and 0 < len(row["right"]) < len(row["choices"])
            if not name.endswith("literature_induction"):
                assert is_test(row["prompt"]) or name == "literature_induction"
    with pytest.raises(ValueError, match="no circuit data set"):
        rows("lab_sva", "test")
    with pytest.raises(ValueError, match="splits test, train"):
        rows("lab_ioi", "validation")


def test_chance_of_the_tasks_is_that_of_their_rows():
    from harness.config.compose import compose_task

    for name in names():
        words, _, task = name.partition("_")
        config = compose_task(f"{'lab_' if words == 'lab' else ''}circuit_{task}", {})[0]
        expected = sum(len(r["right"]) / len(r["choices"]) for r in rows(name, "test")) / len(rows(name, "test"))
        assert config.chance == pytest.approx(expected, abs=0.01), name


def test_metrics_by_hand():
    prompts = Prompts(
        torch.tensor([[1, 2], [3, 4]]), torch.tensor([[5, 2], [6, 4]]), torch.tensor([1, 1]),
        torch.tensor([[0, 1], [2, NO_TOKEN]]), torch.tensor([[3, NO_TOKEN], [0, 4]]), ("a", "a"),
        torch.tensor([[0, 3], [2, 4]]),
    )  # fmt: skip
    logits = torch.tensor([[1.0, 3.0, 0.0, 0.5, -1.0], [0.2, 0.0, 0.1, 0.0, 0.4]], dtype=torch.float64)
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    expected = {
        "logit_diff": [2.0 - 0.5, 0.1 - 0.3],
        "logit_diff_max": [2.0 - 0.5, 0.1 - 0.4],
        "prob_diff": [p[0, 0] + p[0, 1] - p[0, 3], p[1, 2] - p[1, 0] - p[1, 4]],
        "sharpness": [p[0, 0] - p[0, 3], p[1, 2] - p[1, 4]],
        "accuracy": [1.0, 0.0],
        "top1": [1.0, 0.0],
        "kl": [0.0, 0.0],
    }
    assert set(expected) == set(METRICS)
    for metric, values in expected.items():
        got = measure(metric, logits, prompts, logits)
        assert got.tolist() == pytest.approx([float(v) for v in values], abs=1e-12), metric
        stacked = measure(metric, torch.stack([logits, logits]), prompts, logits)
        assert stacked.shape == (2, 2) and torch.equal(stacked[1], got)
    other = logits.roll(1, dims=1)
    q = other.exp() / other.exp().sum(dim=1, keepdim=True)
    assert measure("kl", other, prompts, logits).tolist() == pytest.approx((p * (p / q).log()).sum(dim=1).tolist())
    with pytest.raises(ValueError, match="unknown metric 'ld'"):
        measure("ld", logits, prompts)
    with pytest.raises(ValueError, match="no reference"):
        measure("kl", logits, prompts)


def test_prompts_that_cannot_be():
    ids, ends = torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 1])
    answers = torch.tensor([[0], [0]])
    with pytest.raises(ValueError, match="prompt 1: the corrupt one is the clean one"):
        Prompts(ids, torch.tensor([[9, 2], [3, 4]]), ends, answers, answers + 1, ("a", "b"))
    with pytest.raises(ValueError, match="prompt 0 has no right answer"):
        Prompts(ids, ids + 5, ends, torch.tensor([[-1], [0]]), answers + 1, ("a", "b"))
