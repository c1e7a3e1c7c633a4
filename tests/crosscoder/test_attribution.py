"""Effects of latents: against autograd through the code, hooks, closed forms and brute force."""

import math

import pytest
import torch
from conftest import ARCHITECTURES, tiny
from crosscoder_support import lineup_of, random_crosscoder, random_items

from harness.crosscoder.attribution import ablated, differences, effects
from harness.crosscoder.controls import ablate, activity, matched
from harness.crosscoder.readings import read_all

LAYER = 1


def prepared(architecture="llama", count=2):
    models = [tiny(architecture, seed) for seed in range(count)]
    lineup = lineup_of(models, LAYER)
    items = random_items()
    readings = read_all(lineup, items.rows, 40)
    scale = [0.7, 1.6, 1.0][:count]
    return models, lineup, items, readings, random_crosscoder(count, 32, 20, scale=scale)


def literal_gradient(crosscoder, lineup, items, readings, m, steps):
    """The paper's way: a graph through the code, all positions and latents, one gradient a step."""
    rows = items.rows
    x = torch.zeros(*rows.ids_RT.shape, 32)
    with lineup.open(m) as reader:
        layer_out = reader.read(rows.ids_RT, rows.attention_RT)
        code = crosscoder.encode(readings.x_NMD)
        error = readings.x_NMD[:, m] - crosscoder.decode(code)[:, m]
        total = torch.zeros_like(code)
        for step in range(steps):
            leaf = ((1 - step / steps) * code).detach().requires_grad_()
            x = layer_out.detach().clone()
            x[rows.kept_RT] = crosscoder.decode(leaf)[:, m] + (1 - step / steps) * error
            d = items.differences(reader.logits_from(x, rows.ids_RT, rows.attention_RT, items.ends_I), slice(None))
            total += torch.autograd.grad(d.sum(), leaf)[0]
        effect_NK = code * total / steps
    return torch.zeros(len(items), 20).index_add_(0, rows.kept_RT.nonzero()[:, 0], effect_NK)


class TestEffects:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_the_shortcut_equals_autograd_through_the_code(self, architecture):
        _, lineup, items, readings, crosscoder = prepared(architecture)
        found = effects(crosscoder, lineup, items, readings, 1, steps=3)
        literal = literal_gradient(crosscoder, lineup, items, readings, 1, 3)
        assert torch.allclose(found.integrated_IK, literal, atol=1e-4)
        literal = literal_gradient(crosscoder, lineup, items, readings, 1, 1)
        assert torch.allclose(found.gradient_IK, literal, atol=1e-4)

    def test_differences_are_those_of_the_model(self):
        models, lineup, items, readings, crosscoder = prepared()
        found = effects(crosscoder, lineup, items, readings, 0, steps=2)
        with torch.no_grad():
            logits = models[0](items.rows.ids_RT, attention_mask=items.rows.attention_RT).logits
        at = torch.arange(len(items))
        last = logits[at, items.ends_I]
        expected = last[at, items.right_I] - last[at, items.wrong_I]
        assert torch.allclose(found.clean_I, expected, atol=1e-4)
        assert torch.allclose(differences(lineup, items, 0, 40), expected, atol=1e-4)

    def test_many_steps_explain_everything(self):
        _, lineup, items, readings, crosscoder = prepared()
        few, many = (effects(crosscoder, lineup, items, readings, 0, steps=n) for n in (2, 200))
        whole = many.clean_I - many.empty_I
        told = many.integrated_IK.sum(dim=1) + many.error_I
        assert torch.allclose(told, whole, atol=0.02 * float(whole.abs().max()))
        assert abs(many.gap) < abs(few.gap)

    def test_behind_the_last_layer_without_a_norm_everything_is_linear(self):
        # With the norm an identity, D is linear in x: effects by hand, and exact ablation the same.
        model = tiny("gpt2")
        model.transformer.ln_f = torch.nn.Identity()
        lineup = lineup_of([model], 2)
        items = random_items()
        readings = read_all(lineup, items.rows, 40)
        crosscoder = random_crosscoder(1, 32, 20, scale=[0.5])
        found = effects(crosscoder, lineup, items, readings, 0, steps=4)
        head = model.get_output_embeddings().weight
        code = crosscoder.encode(readings.x_NMD)
        rows, places = items.rows.kept_RT.nonzero(as_tuple=True)
        for i in range(len(items)):
            at = (rows == i) & (places == items.ends_I[i])
            by_hand = code[at][0] * (crosscoder.directions(0) @ (head[items.right_I[i]] - head[items.wrong_I[i]]))
            assert torch.allclose(found.integrated_IK[i], by_hand, atol=1e-4)
            assert torch.allclose(found.gradient_IK[i], by_hand, atol=1e-4)
        sets = [[3], [0, 5, 7]]
        d = ablated(crosscoder, lineup, items, readings, 0, sets)
        for s, chosen in enumerate(sets):
            assert torch.allclose(found.clean_I - d[s], found.integrated_IK[:, chosen].sum(dim=1), atol=1e-4)

    def test_small_effects_at_a_position_can_be_left_out(self):
        _, lineup, items, readings, crosscoder = prepared()
        every = effects(crosscoder, lineup, items, readings, 0, steps=1)
        some = effects(crosscoder, lineup, items, readings, 0, steps=1, least=0.05)
        none = effects(crosscoder, lineup, items, readings, 0, steps=1, least=1e9)
        assert 0 < int((some.gradient_IK != 0).sum()) < int((every.gradient_IK != 0).sum())
        assert float(none.gradient_IK.abs().sum()) == 0

    def test_batches_do_not_matter(self):
        _, lineup, items, readings, crosscoder = prepared()
        one = effects(crosscoder, lineup, items, readings, 1, steps=2)
        whole = read_all(lineup, items.rows, 10_000)
        other = effects(crosscoder, lineup, items, whole, 1, steps=2)
        assert torch.allclose(one.integrated_IK, other.integrated_IK, atol=1e-4)


class TestAblated:
    @pytest.mark.parametrize("mean", [False, True])
    def test_one_latent_taken_out_equals_a_hook(self, mean):
        models, lineup, items, readings, crosscoder = prepared()
        rows = items.rows
        d = ablated(crosscoder, lineup, items, readings, 1, [[4], [4, 9]], mean)
        code = crosscoder.encode(readings.x_NMD)
        level = code.mean(dim=0) if mean else torch.zeros(20)
        for s, chosen in enumerate(([4], [4, 9])):

            def hook(_module, _args, output, chosen=chosen):
                # Decoded with and without the latents; what the crosscoder misses stays.
                without = code.clone()
                without[:, chosen] = level[chosen]
                changed = output.clone()
                changed[rows.kept_RT] += (crosscoder.decode(without) - crosscoder.decode(code))[:, 1]
                return changed

            handle = models[1].model.layers[LAYER].register_forward_hook(hook)
            with torch.no_grad():
                logits = models[1](rows.ids_RT, attention_mask=rows.attention_RT).logits
            handle.remove()
            last = logits[torch.arange(len(items)), items.ends_I]
            assert torch.allclose(d[s], items.differences(last, slice(None)), atol=1e-4)

    def test_nothing_taken_out_changes_nothing(self):
        _, lineup, items, readings, crosscoder = prepared()
        d = ablated(crosscoder, lineup, items, readings, 0, [[]])
        assert torch.allclose(d[0], differences(lineup, items, 0, 40), atol=1e-4)


class TestControls:
    def test_they_are_as_many_live_others_near_in_activity(self):
        activity_K = torch.tensor([100.0, 90.0, 0.0, 1.0, 1.1, 0.9, 95.0, 0.0, 105.0, 1.2])
        for drawn in matched(activity_K, [0, 3], 30, seed=1):
            assert len(set(drawn)) == 2
            assert not {0, 3, 2, 7} & set(drawn)

    def test_near_means_near(self):
        activity_K = torch.cat([torch.full((20,), 1.0), torch.full((20,), 1000.0)])
        for drawn in matched(activity_K, [0, 1, 20], 30, seed=2):
            assert sum(i >= 20 for i in drawn) == 1

    def test_fewer_where_there_are_no_others(self):
        assert matched(torch.tensor([1.0, 2.0, 0.0]), [0], 2, 0) == [[1], [1]]
        assert matched(torch.tensor([1.0, 0.0]), [0], 2, 0) == [[], []]

    def test_smaller_controls_are_no_controls(self):
        _, lineup, items, readings, crosscoder = prepared()
        clean = [differences(lineup, items, m, 40) for m in range(2)]
        active = torch.zeros(20)
        active[:3] = 1.0
        (cell, _) = ablate(crosscoder, lineup, items, readings, clean, [0, 1], active, 5, seed=0)
        assert cell.control_losses == ()
        assert math.isnan(cell.p)

    def test_ablation_of_a_class(self):
        _, lineup, items, readings, crosscoder = prepared()
        clean = [differences(lineup, items, m, 40) for m in range(2)]
        active = activity(crosscoder, readings)
        norms = crosscoder.decoder_KMD.norm(dim=-1).sum(dim=1)
        assert torch.allclose(active, crosscoder.encode(readings.x_NMD).sum(dim=0) * norms, rtol=1e-4)
        chosen = active.topk(3).indices.tolist()
        found = ablate(crosscoder, lineup, items, readings, clean, chosen, active, 9, seed=0)
        for m, cell in enumerate(found):
            exact = ablated(crosscoder, lineup, items, readings, m, [chosen])[0]
            assert cell.loss.value == pytest.approx(float((clean[m] - exact).mean()), abs=1e-4)
            assert cell.accuracy.value == pytest.approx(float((exact > 0).float().mean()))
            assert len(cell.control_losses) == 9
            far = sum(abs(c) >= abs(cell.loss.value) for c in cell.control_losses)
            assert cell.p == (far + 1) / 10
