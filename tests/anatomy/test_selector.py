import pytest
from conftest import tiny

from harness.anatomy import Anatomy, Selector, parse_layers, parse_parts


@pytest.mark.parametrize(
    ("text", "layers"),
    [("0:2", (0, 1)), ("2", (2,)), (":2", (0, 1)), ("2:", (2, 3)), ("0:1,3:4", (0, 3)), ([3, 1], (1, 3)), (1, (1,))],
)
def test_layers(text, layers):
    assert parse_layers(text, 4) == layers


@pytest.mark.parametrize("text", ["2:2", "3:5", "a:b", "-1", "", "1,,2", 124])
def test_bad_layers_name_what_was_given(text):
    with pytest.raises(ValueError, match="layers"):
        parse_layers(text, 4)


def test_groups_and_exceptions():
    assert parse_parts(["mlp"]) == ("gate_proj", "up_proj", "down_proj")
    assert parse_parts(["all", "-o_proj", "-mlp"]) == ("q_proj", "k_proj", "v_proj", "norm", "embed", "head")


def test_unknown_part_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown part 'oproj'; known: q_proj.*mlp"):
        parse_parts(["oproj"])


def test_selection_counts():
    anatomy = Anatomy.of(tiny("qwen2"))
    assert len(Selector(["o_proj"]).resolve(anatomy)) == 3
    assert len(Selector(["qkv"]).resolve(anatomy)) == 18  # weight and bias
    assert len(Selector(["qkv"], bias=False).resolve(anatomy)) == 9
    assert len(Selector(["norm"]).resolve(anatomy)) == 7
    assert len(Selector(["norm"], layers="0:2").resolve(anatomy)) == 4  # the last norm is in no layer


def test_no_match_says_what_there_is():
    with pytest.raises(ValueError, match=r"\['gate_proj'\].*matches no tensor of this gpt2 model; it has: q_proj"):
        Selector(["gate_proj"]).resolve(Anatomy.of(tiny("gpt2")))
    with pytest.raises(ValueError, match="matches no tensor"):
        Selector(["embed"], layers="0:1").resolve(Anatomy.of(tiny("llama")))
