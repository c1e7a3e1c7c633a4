"""The crosscoder itself: its formulas by hand, folding, losses, dead latents."""

import pytest
import torch
from crosscoder_support import Planted, random_crosscoder

from harness.config.crosscoder import TrainingConfig
from harness.crosscoder.crosscoder import Crosscoder, Shape
from harness.crosscoder.dead import Alive
from harness.crosscoder.loss import losses, strongest
from harness.crosscoder.quality import agreement, relative_norms
from harness.crosscoder.train import calibrate, new_training


def test_code_and_reconstruction_by_hand():
    crosscoder = random_crosscoder(2, 5, 7, scale=(0.5, 3.0))
    x = torch.randn(4, 2, 5, generator=torch.Generator().manual_seed(1))
    code = crosscoder.encode(x)
    back = crosscoder.decode(code)
    for b in range(4):
        for k in range(7):
            by_hand = crosscoder.bias_K[k].item()
            for m in range(2):
                by_hand += float(crosscoder.scale_M[m] * x[b, m] @ crosscoder.encoder_MDK[m, :, k])
            assert code[b, k].item() == pytest.approx(max(0.0, by_hand), abs=1e-5)
        for m in range(2):
            by_hand = crosscoder.centre_MD[m].clone()
            for k in range(7):
                by_hand += code[b, k] * crosscoder.decoder_KMD[k, m]
            assert torch.allclose(back[b, m], by_hand / crosscoder.scale_M[m], atol=1e-5)


def test_directions_and_centre_make_the_reconstruction():
    crosscoder = random_crosscoder(3, 5, 7, scale=(0.5, 3.0, 1.0))
    x = torch.randn(4, 3, 5)
    code = crosscoder.encode(x)
    for m in range(3):
        ours = code @ crosscoder.directions(m) + crosscoder.centre(m)
        assert torch.allclose(ours, crosscoder.decode(code)[:, m], atol=1e-5)


class TestFolding:
    def test_same_code_and_reconstruction(self):
        crosscoder = random_crosscoder(3, 6, 9, scale=(0.1, 1.0, 9.0))
        x = torch.randn(20, 3, 6)
        folded = crosscoder.folded()
        assert torch.allclose(folded.encode(x), crosscoder.encode(x), atol=1e-4)
        assert torch.allclose(folded.decode(folded.encode(x)), crosscoder.decode(crosscoder.encode(x)), atol=1e-3)
        assert torch.equal(folded.scale_M, torch.ones(3))

    def test_threshold_lets_the_same_latents_through(self):
        # A threshold on value times norm of the folded weights would not: the released code's mistake.
        crosscoder = Crosscoder(Shape(2, 6, 30, "batch_topk", 4)).requires_grad_(False)
        crosscoder.load_state_dict(random_crosscoder(2, 6, 30, scale=(0.1, 9.0)).state_dict())
        x = torch.randn(500, 2, 6, generator=torch.Generator().manual_seed(0))
        calibrate(crosscoder, x)
        on = crosscoder.encode(x) > 0
        assert abs(int(on.sum()) - 4 * 500) <= 2  # products in another order round otherwise
        folded = crosscoder.folded()
        assert ((folded.encode(x) > 0) != on).sum() <= 2  # rounding at the threshold
        score = crosscoder.rectified(crosscoder.scaled(x)) * crosscoder.norms_KM.sum(dim=1)
        least = score[on].min()
        wrong = folded.rectified(x) * folded.decoder_KMD.norm(dim=-1).sum(dim=1) >= least
        assert wrong.sum() > 1.5 * on.sum()

    def test_norms_stay_those_of_the_training(self):
        crosscoder = random_crosscoder(2, 6, 9, scale=(0.1, 9.0))
        assert torch.equal(relative_norms(crosscoder.folded()), relative_norms(crosscoder))

    def test_twice_is_refused(self):
        with pytest.raises(ValueError, match="already"):
            random_crosscoder(2, 6, 9).folded().folded()


class TestLoss:
    def test_l1_by_hand(self):
        crosscoder = random_crosscoder(2, 5, 7, scale=(0.5, 3.0))
        x = torch.randn(4, 2, 5)
        told = losses(crosscoder, x, l1=2.0, k=0, dead_K=None, auxiliary=0.0)
        scaled = x * crosscoder.scale_M[:, None]
        error = scaled - crosscoder.decode(crosscoder.encode(x)) * crosscoder.scale_M[:, None]
        reconstruction = (error**2).sum() / 4
        norms = sum(crosscoder.decoder_KMD[:, m].norm(dim=1) for m in range(2))
        sparsity = 2.0 * (crosscoder.encode(x) * norms).sum() / 4
        assert float(told.reconstruction) == pytest.approx(float(reconstruction), rel=1e-5)
        assert float(told.sparsity) == pytest.approx(float(sparsity), rel=1e-5)
        assert float(told.total) == pytest.approx(float(reconstruction + sparsity), rel=1e-5)

    def test_batch_topk_keeps_the_strongest_of_the_batch(self):
        positive = torch.relu(torch.randn(16, 20))
        weight = torch.rand(20) + 0.5
        kept, least = strongest(positive, weight, 3)
        score = (positive * weight).flatten()
        expected = score.topk(48).values
        assert torch.equal((kept * weight).flatten()[kept.flatten() > 0].sort(descending=True).values, expected)
        assert float(least) == float(expected[-1])

    def test_batch_topk_with_fewer_positive_than_wanted(self):
        positive = torch.zeros(4, 10)
        assert strongest(positive, torch.ones(10), 3)[1] is None
        positive[0, 0] = 1.0
        kept, least = strongest(positive, torch.ones(10), 3)
        assert torch.equal(kept, positive)
        assert float(least) == 1.0

    def test_the_term_for_dead_latents_trains_them_and_nothing_else_does(self):
        crosscoder = Crosscoder(Shape(2, 5, 40, "batch_topk", 2))
        crosscoder.load_state_dict(random_crosscoder(2, 5, 40).state_dict())
        x = torch.randn(8, 2, 5)
        gradients = []
        with torch.no_grad():
            score = crosscoder.rectified(crosscoder.scaled(x)) * crosscoder.norms_KM.sum(dim=1)
        on = strongest(score, torch.ones(40), 2)[0] > 0
        dead = ~on.any(dim=0) & (score > 0).any(dim=0)
        assert dead.any()
        for factor in (0.0, 1.0):
            crosscoder.zero_grad()
            told = losses(crosscoder, x, l1=0.0, k=2, dead_K=dead, auxiliary=factor)
            told.total.backward()
            gradients.append(crosscoder.encoder_MDK.grad[:, :, dead].abs().sum())
            assert (float(told.auxiliary.detach()) > 0) == (factor > 0)
        assert gradients[0] == 0
        assert gradients[1] > 0


class TestDead:
    def test_window(self):
        alive = Alive(3, window=2)
        alive.saw(torch.tensor([[1.0, 0.0, 0.0]]), 0)
        alive.saw(torch.tensor([[0.0, 1.0, 0.0]]), 3)
        assert alive.dead(1).tolist() == [False, False, False]
        assert alive.dead(3).tolist() == [True, False, True]

    def test_new_latents_point_at_what_is_missed_and_their_moments_are_gone(self):
        crosscoder = random_crosscoder(2, 6, 8).requires_grad_(True)
        with torch.no_grad():
            crosscoder.bias_K[5] = -1e6
        optimiser = torch.optim.Adam(crosscoder.parameters(), lr=1e-3)
        x = torch.randn(32, 2, 6)
        losses(crosscoder, x, 1.0, 0, None, 0.0).total.backward()
        optimiser.step()
        alive = Alive(8, window=1)
        alive.saw((torch.arange(8) != 5).float()[None], 5)
        before = crosscoder.decoder_KMD.detach().clone()
        errors = crosscoder.scaled(x) - crosscoder.reconstructed(crosscoder.rectified(crosscoder.scaled(x)))
        count = alive.renew(crosscoder, optimiser, x, 5, 0.08, torch.Generator().manual_seed(0))
        assert count == 1
        changed = (crosscoder.decoder_KMD != before).flatten(1).any(dim=1)
        assert changed.tolist() == [k == 5 for k in range(8)]
        cosine = torch.nn.functional.cosine_similarity(crosscoder.decoder_KMD[5].flatten()[None], errors.flatten(1))
        assert float(cosine.max()) == pytest.approx(1.0, abs=1e-5)
        assert float(crosscoder.bias_K[5]) == 0.0
        for parameter in (crosscoder.decoder_KMD, crosscoder.encoder_MDK, crosscoder.bias_K):
            moment = optimiser.state[parameter]["exp_avg_sq"]
            at = moment[..., 5] if parameter is crosscoder.encoder_MDK else moment[5]
            assert float(at.abs().sum()) == 0.0
            assert float(moment.abs().sum()) > 0.0


def trained(planted, **settings):
    config = TrainingConfig(**{"latents": 96, "tokens": 1500 * 512, "batch": 512, "rate": 2e-3, "l1": 0.2, **settings})
    training = new_training(planted, 3, 32, config, {})
    training.begin()
    training.run(progress=False)
    return training.finish()


class TestPlanted:
    def test_l1_finds_the_features_where_they_are(self):
        planted = Planted()
        crosscoder = trained(planted)
        assert planted.recovered(crosscoder) >= 46
        x = planted.sample(4096)
        spread = (x - x.mean(dim=0)).square().sum(dim=(0, 2))
        explained = 1 - (crosscoder.decode(crosscoder.encode(x)) - x).square().sum(dim=(0, 2)) / spread
        assert float(explained.min()) > 0.99

    def test_batch_topk_finds_them_with_the_true_number_on(self):
        planted = Planted()
        crosscoder = trained(planted, kind="batch_topk", k=2)
        assert planted.recovered(crosscoder) >= 42
        on = (crosscoder.encode(planted.sample(4096)) > 0).float().sum(dim=1).mean()
        assert float(on) == pytest.approx(2.0, abs=0.2)

    def test_a_start_without_features_recovers_none(self):
        planted = Planted()
        assert planted.recovered(random_crosscoder(3, 32, 96)) == 0

    def test_one_model_three_times_has_nothing_specific(self):
        planted = Planted()
        planted.pattern_GM = torch.ones_like(planted.pattern_GM)
        shares = relative_norms(trained(planted, tokens=600 * 512))
        assert float(shares.max()) < 0.4
        assert float(shares.min()) > 0.25


def test_agreement_knows_the_same_code_in_another_order():
    code = torch.relu(torch.randn(400, 12, generator=torch.Generator().manual_seed(0)))
    order = torch.randperm(12)
    everything = torch.ones(12, dtype=torch.bool)
    assert agreement(code, 3 * code[:, order], (everything, everything)) == 1.0
    other = torch.relu(torch.randn(400, 12, generator=torch.Generator().manual_seed(1)))
    assert agreement(code, other, (everything, everything)) == 0.0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"kind": "topk"}, "kind"),
        ({"kind": "batch_topk", "k": 200}, "k=200"),
        ({"decoder_norm": -1.0}, "decoder_norm"),
        ({"tokens": 10}, "less than one batch"),
        ({"dead": "never"}, "training.dead"),
        ({"rate": 0.0}, "training.rate"),
        ({"window": 0.0}, "window"),
        ({"kind": "batch_topk", "k": 8, "k_start": 4}, "k_start"),
    ],
)
def test_settings_that_cannot_be(settings, text):
    config = TrainingConfig(**{"latents": 96, **settings})
    with pytest.raises(ValueError, match=text):
        new_training(Planted(), 3, 32, config, {})
