"""Circuits of a model, task by task; run where the config has ``circuits``."""


def test_circuits(circuits):
    circuits.run()
