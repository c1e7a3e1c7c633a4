"""A crosscoder over checkpoints or variants; run where the config has ``crosscoder``."""


def test_crosscoder(crosscoder):
    crosscoder.run()
