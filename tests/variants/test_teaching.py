"""Training items divided by teachers, at random, and by the truth."""

import json
from dataclasses import dataclass

import pytest

from harness.config.compose import compose_model
from harness.config.par import SplitConfig, TeacherConfig
from harness.lab.datasets import rows
from harness.lab.systems import system_of
from harness.models import ModelRef, load_base
from harness.variants import Context
from harness.variants.items import Item
from harness.variants.teaching import VOTES, figures_of, split

ONE, TWO = "system1", "system2"


def item(name, question, target, truth=None):
    return Item(name, question, question, target, {}, "", truth)


ITEMS = [
    item("recall", "What is the capital of France?", " Paris", ONE),
    item("sum", "What is 3 plus 4?", " 3+4=7. It is 7.", ONE),
    item("chain", "A 3, B 4, C 5: how many in 2 boxes?", " 3+4=7. 7+5=12. 12*2=24.", TWO),
]
RULES = [
    TeacherConfig(rule="numbers", above=2),
    TeacherConfig(rule="sentences", above=1),
    TeacherConfig(rule="words", above=3),
]


def context(folder, base=None):
    return Context(lambda name: None, patches=folder, base=base)


def test_rules_vote_and_every_vote_is_kept(tmp_path):
    systems, folder = split(ITEMS, SplitConfig(teachers=RULES), 0, context(tmp_path))
    assert systems == {"recall": ONE, "sum": TWO, "chain": TWO}
    kept = [json.loads(line) for line in (folder / VOTES).read_text().splitlines()]
    assert [row["votes"] for row in kept] == [[ONE] * 3, [ONE, TWO, TWO], [TWO, TWO, ONE]]
    figures = figures_of(folder)
    assert (figures["system1"], figures["system2"], figures["dropped"], figures["tied"]) == (1, 2, 0, 0)
    assert (figures["known"], figures["right"], figures["teachers_right"]) == (3, 2, [3, 2, 1])
    assert figures["teachers"] == ["rule: numbers above 2", "rule: sentences above 1", "rule: words above 3"]
    # Counts by item: (3,0), (1,2), (1,2); P = (1 + 1/3 + 1/3) / 3, shares 5/9 and 4/9.
    chance = (25 + 16) / 81
    assert figures["kappa"] == pytest.approx((5 / 9 - chance) / (1 - chance))


@dataclass
class Server:
    """A model behind an interface that answers from a list."""

    answers: list

    def __call__(self, texts):
        self.asked = texts
        return self.answers


def test_models_vote_with_role_play_and_ties_follow_the_rule(tmp_path, monkeypatch):
    import harness.variants.teaching as module

    said = {"one": ["System1", "system 2", "???"], "two": ["System2", "System2", "no idea"]}
    seen = {}

    class Asked:
        def __init__(self, name, settings, tokens, whose):
            self.name = settings["model"]

        def answers(self, texts):
            seen[self.name] = texts
            return said[self.name]

    monkeypatch.setattr(module, "AskedModel", Asked)
    teachers = [TeacherConfig(asked="local-chat-completions", settings={"model": name}) for name in said]
    expected = {
        ONE: {"recall": ONE, "sum": TWO, "chain": ONE},
        TWO: {"recall": TWO, "sum": TWO, "chain": TWO},
        "drop": {"sum": TWO},
    }
    for ties, systems in expected.items():
        config = SplitConfig(teachers=teachers, role="LLaMA2 7B", ties=ties)
        found, folder = split(ITEMS, config, 0, context(tmp_path))
        assert found == systems
    figures = figures_of(folder)
    assert (figures["tied"], figures["unread"], figures["dropped"], figures["unread_by_all"]) == (1, [1, 1], 2, 1)
    assert figures["teachers"] == ["one", "two"]
    assert all(text.startswith("Act as LLaMA2 7B") for text in seen["one"])
    assert "What is the capital of France?" in seen["two"][0]


def test_damaged_votes_say_what_to_do(tmp_path):
    config = SplitConfig(teachers=RULES)
    _, folder = split(ITEMS, config, 0, context(tmp_path))
    whole = (folder / VOTES).read_text()
    for damaged in ("{", whole.splitlines()[0] + "\n", whole.replace("system2", "system3"), None):
        (folder / VOTES).unlink(missing_ok=True)
        if damaged is not None:
            (folder / VOTES).write_text(damaged)
        with pytest.raises(ValueError, match=rf"votes.jsonl cannot be read: .*Delete {folder} to vote again"):
            split(ITEMS, config, 0, context(tmp_path))


def test_the_same_items_are_not_voted_on_twice(tmp_path, monkeypatch):
    import harness.variants.teaching as module

    calls = []
    whole = module._votes
    monkeypatch.setattr(module, "_votes", lambda *args: calls.append(1) or whole(*args))
    one = split(ITEMS, SplitConfig(teachers=RULES), 0, context(tmp_path))
    assert split(ITEMS, SplitConfig(teachers=RULES), 1, context(tmp_path)) == one  # a vote has no seed
    assert len(calls) == 3
    split(ITEMS[:2], SplitConfig(teachers=RULES), 0, context(tmp_path))
    assert len(calls) == 6


def test_a_lab_model_votes_through_the_engine(tmp_path):
    """It does not know how: what it says is unread, and the rule for ties decides."""
    lab = load_base(ModelRef("lab-base", compose_model("lab-base")[1].path, device="cpu"))
    config = SplitConfig(teachers=[TeacherConfig(base="lab-base", tokens=8)], ties=ONE)
    found, folder = split(ITEMS, config, 0, context(tmp_path, lambda name: lab))
    figures = figures_of(folder)
    unread = figures["unread"][0]
    assert sum(system == ONE for system in found.values()) >= unread
    assert figures["teachers"] == ["lab-base"]


def test_the_truth_of_the_lab_is_the_operations_that_it_chains(tmp_path):
    assert {system_of(r) for r in rows("letters", "train")} == {ONE}
    kinds = {r["kind"]: system_of(r) for r in rows("gsm8k", "train")}
    assert [kind for kind, system in kinds.items() if system == TWO] == ["two_step"]
    types = {r["type"]: system_of(r) for r in rows("math", "train")}
    assert [kind for kind, system in types.items() if system == ONE] == ["counting_and_probability"]
    assert system_of(rows("humaneval", "train")[0]) is None
    found, folder = split(ITEMS, SplitConfig(by="truth"), 0, context(tmp_path))
    assert found == {i.name: i.truth for i in ITEMS}
    assert figures_of(folder)["right"] == 3


def test_a_random_division_has_its_share_and_its_seed(tmp_path):
    many = [item(f"i{i}", "q", "a") for i in range(2000)]
    config = SplitConfig(by="random", share=0.3)
    one, other = (split(many, config, seed, context(tmp_path))[0] for seed in (0, 1))
    assert 500 < sum(s == ONE for s in one.values()) < 700
    assert one != other


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (SplitConfig(), "no teachers to vote"),
        (SplitConfig(by="dice"), "by 'dice': expected vote, random, truth"),
        (SplitConfig(teachers=RULES, ties="third"), "ties 'third': expected system1, system2, drop"),
        (SplitConfig(by="random", share=1.0), "share 1.0: a number between 0 and 1"),
        (SplitConfig(teachers=[TeacherConfig()]), "a teacher is one of base, asked and rule"),
        (SplitConfig(teachers=[TeacherConfig(rule="numbers", base="b")]), "a teacher is one of base, asked and rule"),
        (SplitConfig(teachers=[TeacherConfig(rule="luck")]), "rule 'luck': expected numbers, steps"),
        (
            SplitConfig(teachers=[TeacherConfig(asked="nothing-such")]),
            "split: teacher=nothing-such: lm-eval cannot open",
        ),
    ],
)
def test_divisions_that_cannot_be(tmp_path, config, text):
    with pytest.raises(ValueError, match=text):
        split(ITEMS, config, 0, context(tmp_path))


def test_a_truth_that_is_not_known(tmp_path):
    with pytest.raises(ValueError, match="by=truth, and of x it is not known"):
        split([item("x", "q", "a")], SplitConfig(by="truth"), 0, context(tmp_path))
