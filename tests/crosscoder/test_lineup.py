"""Models in step: reading a layer, replacing it, variants swapped in, the buffer and the stream of tokens."""

import gzip

import pytest
import torch
from conftest import ARCHITECTURES, VOCAB, tiny
from crosscoder_support import NO_SINKS, base_of, lineup_of, random_rows, tokenizer

from harness.config.crosscoder import BufferConfig, TextConfig
from harness.crosscoder.asked import skips_first
from harness.crosscoder.buffer import ActivationBuffer
from harness.crosscoder.lineup import Lineup, Member
from harness.crosscoder.readings import batches, read_all, replaced
from harness.crosscoder.tokens import kept, sinks_of, stacked, take, text_identity, texts_of, token_rows
from harness.patch import Patch


class TestReader:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_a_layer_read_and_put_back_changes_nothing(self, architecture):
        model = tiny(architecture)
        rows = random_rows()
        with lineup_of([model], 1).open(0) as reader, torch.no_grad():
            whole = model(rows.ids_RT, attention_mask=rows.attention_RT)
            x = reader.read(rows.ids_RT, rows.attention_RT)
            hidden = model(rows.ids_RT, attention_mask=rows.attention_RT, output_hidden_states=True).hidden_states[2]
            real = rows.attention_RT.bool()
            assert torch.allclose(x[real], hidden[real], atol=1e-5)
            again = reader.logits_from(x, rows.ids_RT, rows.attention_RT)
            assert torch.allclose(again[real], whole.logits[real], atol=1e-5)
            assert torch.allclose(reader.logits(rows.ids_RT, rows.attention_RT)[real], whole.logits[real], atol=1e-5)

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_another_output_is_what_a_hook_would_put_there(self, architecture):
        model = tiny(architecture)
        rows = random_rows(seed=3)
        with lineup_of([model], 1).open(0) as reader, torch.no_grad():
            x = reader.read(rows.ids_RT, rows.attention_RT) + torch.randn(1, 1, 32)
            ours = reader.logits_from(x, rows.ids_RT, rows.attention_RT)

            def hook(_module, _args, output):
                return (x, *output[1:]) if isinstance(output, tuple) else x

            layers = model.get_submodule(base_of(model).anatomy.architecture.layers)
            handle = layers[1].register_forward_hook(hook)
            theirs = model(rows.ids_RT, attention_mask=rows.attention_RT).logits
            handle.remove()
        real = rows.attention_RT.bool()
        assert torch.allclose(ours[real], theirs[real], atol=1e-5)

    def test_layers_behind_are_not_computed_and_forwards_come_back(self):
        model = tiny("llama")
        calls = []
        handle = model.model.layers[2].register_forward_hook(lambda *_: calls.append(1))
        rows = random_rows()
        with lineup_of([model], 1).open(0) as reader, torch.no_grad():
            x = reader.read(rows.ids_RT, rows.attention_RT)
            assert not calls
            before = model(rows.ids_RT).logits
            reader.logits_from(torch.zeros_like(x), rows.ids_RT, rows.attention_RT)
            assert torch.equal(model(rows.ids_RT).logits, before)
        handle.remove()
        assert not any("forward" in layer.__dict__ for layer in model.model.layers)


class TestLineup:
    def test_a_variant_is_swapped_in_for_the_block_alone(self):
        model = tiny("llama")
        name = "model.layers.0.self_attn.o_proj.weight"
        patch = Patch({name: torch.zeros_like(model.get_parameter(name))})
        base = base_of(model)
        lineup = Lineup([Member("base", lambda: base), Member("zeroed", lambda: base, patch)], 0)
        rows = random_rows()
        readings = read_all(lineup, rows, 64)
        with lineup.open(0) as reader:
            plain = reader.read(rows.ids_RT, rows.attention_RT)[rows.kept_RT]
        assert torch.allclose(readings.x_NMD[:, 0], plain)
        assert not torch.allclose(readings.x_NMD[:, 1], plain)
        with patch.applied(model):
            hidden = model(rows.ids_RT, attention_mask=rows.attention_RT, output_hidden_states=True).hidden_states[1]
        assert torch.allclose(readings.x_NMD[:, 1], hidden[rows.kept_RT].detach(), atol=1e-5)
        assert lineup.identities[0] != lineup.identities[1]

    def test_the_middle_layer_is_read_by_default(self):
        assert lineup_of([tiny("llama")], None).layer == 1

    @pytest.mark.parametrize(
        ("others", "text"),
        [
            (lambda: tiny("llama", hidden_size=48), "width"),
            (lambda: tiny("llama", num_hidden_layers=2), "number of layers"),
        ],
    )
    def test_models_that_do_not_fit_are_refused(self, others, text):
        with pytest.raises(ValueError, match=text):
            lineup_of([tiny("llama"), others()])

    def test_another_tokenizer_is_refused(self):
        first, second = base_of(tiny("llama")), base_of(tiny("llama", 1))
        second.tokenizer.add_tokens(["more"])
        with pytest.raises(ValueError, match="tokenizer"):
            Lineup([Member("a", lambda: first), Member("b", lambda: second)])

    def test_names_layers_and_dropped_layers(self):
        base = base_of(tiny("llama"))
        with pytest.raises(ValueError, match="names of their own"):
            Lineup([Member("a", lambda: base), Member("a", lambda: base)])
        with pytest.raises(ValueError, match="layers 0 to 2"):
            Lineup([Member("a", lambda: base)], 3)
        with pytest.raises(ValueError, match="drops layers"):
            Lineup([Member("a", lambda: base, Patch(kept_layers=(0, 2)))], 0)


def test_batches_cover_rows_in_order_within_their_budget():
    rows = random_rows(40, 20, seed=4)
    seen = [batch.ids_RT[i][batch.attention_RT[i].bool()] for batch in batches(rows, 50) for i in range(len(batch))]
    expected = [rows.ids_RT[i][rows.attention_RT[i].bool()] for i in range(40)]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))
    assert all(batch.ids_RT.numel() <= 50 for batch in batches(rows, 50))


def test_replaced_leaves_what_is_not_used():
    x = torch.randn(2, 4, 3)
    where = torch.tensor([[False, True, True, False], [False, True, False, False]])
    out = replaced(x, where, torch.zeros(3, 3))
    assert torch.equal(out[~where], x[~where])
    assert float(out[where].abs().sum()) == 0


class TestTokens:
    TEXTS = ("w2 w3 w4", "w5", "w6 w7 w8 w9 w10")

    def test_documents(self):
        rows = list(token_rows(lambda: iter(self.TEXTS), tokenizer(), TextConfig(length=4, shortest=2)))
        assert [row.tolist() for row in rows] == [[2, 3, 4, 0], [6, 7, 8, 9]]

    def test_packed(self):
        rows = list(token_rows(lambda: iter(self.TEXTS), tokenizer(), TextConfig(length=4, packed=True)))
        assert [row.tolist() for row in rows] == [[2, 3, 4, 0], [5, 0, 6, 7], [8, 9, 10, 0]]

    def test_sinks_are_left_out_wherever_they_stand(self):
        ids = torch.tensor([[2, 0, 3, 0], [4, 5, 0, 0]])
        attention = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
        assert kept(ids, attention, sinks_of(tokenizer()), True).tolist() == [
            [False, False, True, False],
            [False, True, False, False],
        ]

    def test_take_takes_whole_rows(self):
        rows = iter([torch.zeros(3), torch.zeros(3), torch.zeros(3)])
        assert len(take(rows, 4)) == 2
        assert len(take(rows, 40)) == 1

    def test_skip_first_follows_the_tokenizer(self):
        assert skips_first("auto", tokenizer())
        assert not skips_first("false", tokenizer())
        with pytest.raises(ValueError, match="skip_first"):
            skips_first("yes", tokenizer())

    def test_files(self, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"text": "w2 w3"}\n{"text": "w4"}\n')
        (tmp_path / "b.txt").write_text("w5\nw6\n\nw7\n")
        config = TextConfig(source="file", path=str(tmp_path))
        assert list(texts_of(config)()) == ["w2 w3", "w4", "w5\nw6", "w7\n"]
        before = text_identity(config)
        (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"w8"))
        assert list(texts_of(config)())[-1] == "w8"
        assert text_identity(config) != before
        (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b'{"text": "w9"}' * 50)[:-12])
        with pytest.raises(ValueError, match=r"d\.jsonl\.gz cannot be read"):
            list(texts_of(config)())
        (tmp_path / "d.jsonl.gz").unlink()
        config.column = "story"
        with pytest.raises(ValueError, match="line 1: no text in column 'story'"):
            list(texts_of(config)())
        with pytest.raises(ValueError, match=r"no \.txt or"):
            texts_of(TextConfig(source="file", path=str(tmp_path / "none")))
        with pytest.raises(ValueError, match="expected lab, file or hub"):
            texts_of(TextConfig(source="net"))


def buffer_of(lineup, rows, seed=0, wanted=None, **settings):
    config = BufferConfig(**{"batch_tokens": 32, "megabytes": 1, **settings})
    return ActivationBuffer(lineup, lambda: iter(rows), config, NO_SINKS, True, seed, wanted)


class TestBuffer:
    @pytest.fixture
    def lineup(self):
        return lineup_of([tiny("llama"), tiny("llama", 1)], 1)

    @pytest.fixture
    def rows(self):
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(3, 12, (300,), generator=generator).tolist()
        return [torch.randint(2, VOCAB, (n,), generator=generator) for n in lengths]

    def drain(self, buffer, size=16):
        out = []
        while (batch := buffer.batch(size)) is not None:
            out.append(batch)
        return torch.cat(out)

    def sorted(self, x):
        return x[x[:, 0, 0].argsort()]

    @pytest.mark.parametrize("storage", ["memory", "disk"])
    def test_every_token_once_and_all_models_in_step(self, lineup, rows, storage):
        got = self.sorted(self.drain(buffer_of(lineup, rows, storage=storage), 1))
        expected = self.sorted(read_all(lineup, stacked(rows, NO_SINKS, True), 64).x_NMD)
        assert torch.allclose(got, expected, atol=1e-5)

    def test_rounds_keep_to_the_budget_and_lose_only_what_is_beyond_it(self, lineup, rows):
        buffer = buffer_of(lineup, rows, wanted=300)
        assert buffer.capacity < 500
        assert len(self.drain(buffer, 1)) >= 0.95 * sum(len(row) - 1 for row in rows)

    def test_passes_serve_a_round_again_in_another_order(self, lineup, rows):
        once = self.drain(buffer_of(lineup, rows), 1)
        twice = self.drain(buffer_of(lineup, rows, passes=2), 1)
        assert len(twice) == 2 * len(once)
        assert torch.equal(twice[: len(once)], once)
        assert not torch.equal(twice[len(once) :], once)
        assert torch.equal(self.sorted(twice[len(once) :]), self.sorted(once))

    @pytest.mark.parametrize("batches", [1, 7, 40])
    def test_goes_on_bit_by_bit(self, lineup, rows, batches):
        first = buffer_of(lineup, rows, passes=2, wanted=600)
        for _ in range(batches):
            first.batch(16)
        second = buffer_of(lineup, rows, passes=2, wanted=600)
        second.restore(first.state())
        for _ in range(10):
            assert torch.equal(first.batch(16), second.batch(16))
        assert first.served == second.served

    def test_restart_is_a_buffer_of_another_seed(self, lineup, rows):
        for wanted in (None, 300):
            buffer = buffer_of(lineup, rows, wanted=wanted)
            for _ in range(60 if wanted else 3):
                buffer.batch(16)
            buffer.restart(5)
            fresh = buffer_of(lineup, rows, seed=5, wanted=wanted)
            for _ in range(40):
                assert torch.equal(buffer.batch(16), fresh.batch(16))

    def test_outliers_are_dropped_and_counted(self, rows):
        model = tiny("llama")
        with torch.no_grad():
            model.model.embed_tokens.weight[7] *= 1e4
        lineup = lineup_of([tiny("llama", 1), model], 0)
        buffer = buffer_of(lineup, rows)
        got = self.drain(buffer, 1)
        sevens = sum(int((row[1:] == 7).sum()) for row in rows)
        assert buffer.dropped == sevens > 0
        assert len(got) == sum(len(row) - 1 for row in rows) - sevens

    def test_the_same_model_twice_is_read_once(self, rows):
        base = base_of(tiny("llama"))
        lineup = Lineup([Member("a", lambda: base), Member("b", lambda: base)], 0)
        got = self.drain(buffer_of(lineup, rows), 1)
        assert torch.equal(got[:, 0], got[:, 1])

    def test_activations_that_are_not_finite_are_told(self, rows):
        model = tiny("llama")
        with torch.no_grad():
            model.model.embed_tokens.weight[9] = float("nan")
        with pytest.raises(ValueError, match="m0: activations of layer 0 are not finite"):
            buffer_of(lineup_of([model], 0), rows).batch(4)

    def test_settings_that_cannot_be(self, lineup, rows):
        for settings, text in (
            ({"dtype": "int8"}, "dtype"),
            ({"storage": "cloud"}, "storage"),
            ({"passes": 0}, "passes"),
            ({"batch_tokens": 10**6}, "give it more"),
        ):
            with pytest.raises(ValueError, match=text):
                buffer_of(lineup, rows, **settings)
