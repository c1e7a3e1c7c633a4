"""Stop strings against decoding the whole text at every step."""

from engine_support import tokenizer
from hypothesis import given
from hypothesis import strategies as st

from harness.engine.stops import Stops

STOPS = ("\n\n", "Question:", "\ndef", " eggs", "é", "<|end|>")
TOKENS = st.lists(st.integers(0, len(tokenizer()) - 1), min_size=1, max_size=25)


@given(TOKENS, st.lists(st.sampled_from(STOPS), min_size=1, max_size=3, unique=True).map(tuple))
def test_stops_where_the_whole_text_first_holds_one(tokens, stops):
    watch = Stops(tokenizer())
    found = next((i for i in range(1, len(tokens) + 1) if watch.reached([tokens[:i]], [stops])[0]), None)
    whole = [tokenizer().decode(tokens[:i], skip_special_tokens=False) for i in range(1, len(tokens) + 1)]
    assert found == next((i for i, text in enumerate(whole, 1) if any(s in text for s in stops)), None)


@given(st.text("abQuestion:\n é", min_size=1, max_size=40))
def test_a_stop_string_in_a_text_is_found_however_it_is_cut(text):
    tokens = tokenizer().encode(text + "Question: who")
    watch = Stops(tokenizer())
    assert any(watch.reached([tokens[:i]], [("Question:",)])[0] for i in range(1, len(tokens) + 1))


def test_each_text_has_its_own_strings():
    tokens = tokenizer().encode("def f\n\n")
    watch = Stops(tokenizer())
    assert watch.reached([tokens, tokens, tokens[:1]], [("\n\n",), ("eggs",), ("\n\n",)]) == [True, False, False]


def test_special_tokens_are_seen_though_people_do_not_read_them():
    end = tokenizer().eos_token
    tokens = [*tokenizer().encode("word"), tokenizer().eos_token_id]
    assert Stops(tokenizer()).reached([tokens], [(end,)]) == [True]
