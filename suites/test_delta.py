"""Where a model and its donor differ, tensor by tensor; run where the config has ``delta``."""


def test_delta(delta):
    delta.run()
