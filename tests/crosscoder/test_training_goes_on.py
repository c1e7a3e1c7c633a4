"""A training that was stopped ends with the same bits, and files of other trainings are refused."""

import pytest
import torch
from conftest import VOCAB, tiny
from crosscoder_support import NO_SINKS, Planted, lineup_of, random_crosscoder

from harness.config.crosscoder import BufferConfig, TrainingConfig
from harness.crosscoder.buffer import ActivationBuffer
from harness.crosscoder.crosscoder import Crosscoder, Shape
from harness.crosscoder.schedule import Schedule
from harness.crosscoder.state import STATE, load_crosscoder, save_crosscoder
from harness.crosscoder.train import new_training

MADE = {"what": "this"}


def rows():
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        yield torch.randint(2, VOCAB, (int(torch.randint(4, 12, (1,), generator=generator)),), generator=generator)


def training(folder, kind, storage="memory", made=MADE):
    lineup = lineup_of([tiny("llama"), tiny("llama", 1)], 1)
    settings = BufferConfig(megabytes=1, batch_tokens=32, passes=2, storage=storage)
    buffer = ActivationBuffer(lineup, rows, settings, NO_SINKS, True, 3, 1200)
    config = TrainingConfig(kind=kind, latents=48, tokens=40 * 64, batch=64, l1=0.5, k=4, window=0.1, seed=3)
    return new_training(buffer, 2, 32, config, made, folder)


def run(folder, kind, stops, storage="memory"):
    """Trains in several sessions; returns the crosscoder's tensors."""
    for stop in (*stops, None):
        one = training(folder, kind, storage)
        one.begin()
        one.run(until=stop, progress=False)
    return one.finish().state_dict()


@pytest.mark.parametrize("kind", ["l1", "batch_topk"])
@pytest.mark.parametrize("stops", [(1,), (13, 30), (39,)])
def test_it_goes_on_bit_by_bit(tmp_path, kind, stops):
    # Resampling (steps 8, 16, 24), both rounds' borders and the falling rate lie between the stops.
    whole = run(tmp_path / "whole", kind, ())
    parts = run(tmp_path / "parts", kind, stops)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_storage_on_disk_gives_the_same_bits(tmp_path):
    in_memory, on_disk = run(tmp_path / "a", "l1", ()), run(tmp_path / "b", "l1", (20,), "disk")
    assert all(torch.equal(in_memory[name], on_disk[name]) for name in in_memory)


def test_a_state_of_another_training_is_refused(tmp_path):
    one = training(tmp_path, "l1")
    one.begin()
    one.run(until=2, progress=False)
    with pytest.raises(ValueError, match="other settings or models"):
        training(tmp_path, "l1", made={"what": "that"}).begin()


def test_a_damaged_state_is_told(tmp_path):
    (tmp_path / STATE).write_bytes(b"not tensors")
    with pytest.raises(ValueError, match="not a saved crosscoder"):
        training(tmp_path, "l1").begin()


def test_a_text_that_ends_is_told_with_its_numbers(tmp_path):
    lineup = lineup_of([tiny("llama")], 1)
    buffer = ActivationBuffer(lineup, rows, BufferConfig(megabytes=1, batch_tokens=32), NO_SINKS, True, 0)
    one = new_training(buffer, 1, 32, TrainingConfig(latents=8, tokens=10**6, batch=64), MADE)
    one.begin()
    with pytest.raises(ValueError, match=r"the text ended after \d+ of 1000000 tokens"):
        one.run(progress=False)


def test_the_loss_falls_and_is_logged():
    planted = Planted()
    one = new_training(planted, 3, 32, TrainingConfig(latents=64, tokens=300 * 256, batch=256, l1=0.1), MADE)
    one.begin()
    one.run(progress=False)
    assert one.log[-1]["reconstruction"] < 0.2 * one.log[0]["reconstruction"]
    assert [point["step"] for point in one.log] == sorted({point["step"] for point in one.log})


def test_a_loss_that_is_not_finite_is_told():
    class Broken(Planted):
        def batch(self, size):
            return super().batch(size) * float("inf")

    one = new_training(Broken(), 3, 32, TrainingConfig(latents=64, tokens=2560, batch=256), MADE)
    one.begin()
    with pytest.raises(ValueError, match="smaller"):
        one.run(progress=False)


def test_saved_and_read_again(tmp_path):
    crosscoder = random_crosscoder(2, 6, 9, scale=(0.5, 2.0))
    for name, one in (("plain", crosscoder), ("folded", crosscoder.folded())):
        save_crosscoder(one, tmp_path / name, {"seed": 4})
        again, record = load_crosscoder(tmp_path / name)
        assert record["seed"] == 4
        x = torch.randn(5, 2, 6)
        assert torch.equal(again.encode(x), one.encode(x))
        assert torch.equal(again.norms_KM, one.norms_KM)
    with pytest.raises(ValueError, match="already"):
        again.folded()
    with pytest.raises(ValueError, match="not a saved crosscoder"):
        load_crosscoder(tmp_path / "none")


def test_schedule():
    schedule = Schedule.of(TrainingConfig(kind="batch_topk", latents=100, k=8, tokens=1000, batch=1, rate=1.0, l1=2.0))
    assert [schedule.rate(step) for step in (0, 800, 900)] == [1.0, 1.0, 0.5]
    assert [schedule.l1(step) for step in (0, 25, 50, 999)] == [0.0, 1.0, 2.0, 2.0]
    assert [schedule.k(step) for step in (0, 25, 50, 999)] == [40, 24, 8, 8]
    assert schedule.wakes == "auxiliary"
    assert Schedule.of(TrainingConfig()).wakes == "resample"
    assert isinstance(Crosscoder(Shape(1, 2, 3)), torch.nn.Module)
