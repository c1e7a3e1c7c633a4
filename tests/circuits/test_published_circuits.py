"""A paper's circuits beside ours."""

import json
from dataclasses import asdict

from harness.circuits.published import published_lines
from harness.config.circuits import CircuitConfig
from harness.config.published_circuits import PublishedCircuit, PublishedCircuits

BLOCK = PublishedCircuits(
    "A paper, table 1", "m", 100, "A note.",
    [PublishedCircuit("ioi", "path_patching", 0.9, 20), PublishedCircuit("ioi", "app", ratio=2.5)],
)  # fmt: skip


def write(folder, method, flops, fingerprint="f", settings=CircuitConfig()):  # noqa: B008
    record = {
        "fingerprint": fingerprint,
        "config": asdict(settings),
        "verified": {"raw": 0.8, "size": 7, "faithfulness": {"value": 0.75}},
        "cost": {"passes": {"effect": 3}, "flops": {"effect": {"0": flops}}, "seconds": 1.0},
        "found": {"path_patching_cost": {"passes": {}, "flops": {"effect": {"0": flops // 2}}, "seconds": 1.0}},
    }
    (folder / "ioi" / method).mkdir(parents=True)
    (folder / "ioi" / method / "circuit.json").write_text(json.dumps(record))


def test_ours_stand_beside_them(tmp_path):
    write(tmp_path, "path_patching", 400)
    write(tmp_path, "app", 100)
    lines = "\n".join(published_lines(BLOCK, tmp_path, "f", CircuitConfig()))
    assert "| 90.0 " in lines and "| 80.0 " in lines and "A note." in lines, "printed: performance, left out"
    assert "80.0 % with 7 heads (above the floor 75.0 %)" in lines
    assert "4.00 times fewer FLOPs (8.00 without the search for the hybrid)" in lines
    assert "TPR" not in lines, "nothing is said of it"


def test_circuits_of_another_model_do_not(tmp_path):
    write(tmp_path, "path_patching", 400, "another")
    for fingerprint in ("f", None):
        assert "measured here" not in "\n".join(published_lines(BLOCK, tmp_path, fingerprint, CircuitConfig()))
    write(tmp_path, "app", 400, "f", CircuitConfig(seed=1))
    assert "measured here" not in "\n".join(published_lines(BLOCK, tmp_path, "f", CircuitConfig())), "other settings"
