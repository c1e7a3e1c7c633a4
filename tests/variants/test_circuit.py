"""The circuit variant: found, read, refused, and run as any other."""

import json
from dataclasses import replace

import pytest
import torch

from harness.after import circuits_config, extras_of
from harness.circuits.discover import main as discover
from harness.circuits.metrics import measure
from harness.circuits.tasks import TASKS, draw_sets
from harness.config.compose import compose_run
from harness.config.paths import LAB_WEIGHTS
from harness.config.replicas import replicas
from harness.config.specs import compose_entry
from harness.config.variants import CircuitVariant
from harness.models import ModelRef, load_base
from harness.variants import Context, build

FIND = {
    "prompts": {"find": 30, "verify": 20, "means": 40},
    "nulls": 0,
    "threshold": {"rule": "absolute", "least": 0.05},
}


@pytest.fixture(scope="module")
def base():
    return load_base(ModelRef("lab-base", str(LAB_WEIGHTS / "lab-base")))


@pytest.fixture(scope="module")
def context(tmp_path_factory, base):
    return Context(lambda name: base.model, patches=tmp_path_factory.mktemp("patches"))


def spec(**settings):
    return compose_entry({"variant": "circuit", **settings}, None, {})[0]


def test_it_is_found_once_and_kept(base, context):
    patch = build(base, spec(task="induction", find=FIND), context)
    folders = list(context.patches.glob("circuit-*"))
    assert len(folders) == 1
    stamp = (folders[0] / "circuit.json").stat().st_mtime_ns
    again = build(base, spec(task="induction", find=FIND), context)
    assert again.digest == patch.digest and (folders[0] / "circuit.json").stat().st_mtime_ns == stamp
    measured = patch.provenance.measured
    heads = json.loads((folders[0] / "circuit.json").read_text())["heads"]
    assert measured["heads"].split() == heads and measured["heads_kept"] == len(heads)
    assert measured["heads_kept"] + measured["heads_ablated"] == 16
    zero = build(base, spec(task="induction", find=FIND, fill="zero"), context)
    assert zero.digest != patch.digest and not any(name.endswith("bias") for name in zero.tensors)


def test_it_keeps_the_task_it_was_found_on_and_no_other(base, context):
    patch = build(base, spec(task="induction", find=FIND), context)
    shares = {}
    for task in ("induction", "ioi"):
        prompts = draw_sets(task, base.tokenizer, "lab", find=60, verify=2, means=2, seed=9).find
        rows = torch.arange(len(prompts))
        with torch.no_grad():
            full = measure("logit_diff", base.model(prompts.clean_NT).logits[rows, prompts.ends_N], prompts).mean()
            with patch.applied(base.model):
                left = measure("logit_diff", base.model(prompts.clean_NT).logits[rows, prompts.ends_N], prompts).mean()
        shares[task] = float(left / full)
    assert shares["induction"] > 0.4 > shares["ioi"]


def test_a_circuit_by_its_path(base, context, tmp_path):
    assert discover(["task=induction", f"out={tmp_path}", "figure=false", "method=path_patching",
                     "prompts.find=30", "prompts.verify=20", "prompts.means=40", "nulls=0"]) == 0  # fmt: skip
    folder = tmp_path / "lab-base" / "induction" / "path_patching"
    patch = build(base, spec(path=str(folder)), context)
    assert patch.provenance.measured["heads"] == " ".join(json.loads((folder / "circuit.json").read_text())["heads"])
    text = (folder / "circuit.json").read_text()
    (folder / "circuit.json").write_text(text.replace(base.fingerprint, "0" * 64))
    with pytest.raises(ValueError, match=r"other weights than lab-base; variant\.any_model=true"):
        build(base, spec(path=str(folder)), context)
    assert build(base, spec(path=str(folder), any_model=True), context).digest == patch.digest


def test_a_circuit_found_in_float32_is_one_of_the_same_weights_in_their_own_dtype(base, context, tmp_path):
    assert discover(["task=induction", f"out={tmp_path}", "figure=false", "method=activation",
                     "prompts.find=20", "prompts.verify=20", "prompts.means=30", "nulls=0"]) == 0  # fmt: skip
    folder = tmp_path / "lab-base" / "induction" / "activation"
    narrow = load_base(replace(base.ref, dtype="bfloat16"))
    assert narrow.fingerprint != base.fingerprint
    assert build(narrow, spec(path=str(folder)), context).tensors
    with torch.no_grad():
        narrow.model.get_parameter("model.norm.weight")[0] += 1
    other = replace(narrow, fingerprint="1" * 64)
    with pytest.raises(ValueError, match=r"take runtime\.dtype=float32 \(it is bfloat16 here\)"):
        build(other, spec(path=str(folder)), context)


def test_heads_by_hand(base, context):
    patch = build(base, spec(heads="1.2 0.1", fill="zero"), context)
    weight = patch.tensors["model.layers.1.self_attn.o_proj.weight"]
    assert [bool(weight[:, h * 32 : (h + 1) * 32].any()) for h in range(4)] == [False, False, True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fill": "median"}, "unknown fill 'median'; known: mean, zero"),
        ({"heads": "1.2"}, r"heads alone have no means; set variant\.fill=zero"),
        ({"heads": "1.2", "path": "x"}, "path or heads, not both"),
        ({"heads": "9.1", "fill": "zero"}, "head 9.1; lab-base has 4 layers of 4 heads"),
        ({"heads": "a", "fill": "zero"}, "'a' is no head"),
        ({"path": "nowhere"}, "is no circuit"),
        (
            {
                "task": "ioi",
                "find": {"threshold": {"rule": "absolute", "least": 9.0}, "prompts": FIND["prompts"], "nulls": 0},
            },
            "no head was found on ioi by app; lower",
        ),
        ({"task": "sva"}, "unknown circuit task 'sva'"),
        ({"task": "ioi", "find": {"method": "eap"}}, "unknown circuit method 'eap'"),
    ],
)
def test_settings_that_cannot_be(base, context, settings, message):
    with pytest.raises(ValueError, match=message):
        build(base, spec(**settings), context)


def test_its_seed_is_that_of_the_run():
    one, two = replicas(spec(), [3, 4])
    assert isinstance(one.config, CircuitVariant)
    assert (one.config.find.seed, one.config.find.prompts.seed, two.config.find.seed) == (3, 3, 4)


def test_circuits_of_a_run_are_checked():
    given = ["experiment=app_table2", "model=lab"]
    assert [e.name for e in extras_of(compose_run(given))] == [f"lab-{task}" for task in TASKS]
    for override, message in (
        ("circuits.out=x", "out follows from the run"),
        ("circuits.methds=[app]", "methds"),
        ("circuits.methods=[eap]", "unknown circuit method 'eap'"),
        ("circuits.tasks=[sva]", "unknown circuit task 'sva'"),
    ):
        with pytest.raises(ValueError, match=message):
            extras_of(compose_run([*given, override]))


def test_published_circuits_are_those_of_the_paper():
    """Every model has four methods on five tasks, and a printed share of found heads is one of whole heads."""
    run = compose_run(["experiment=app_table2"])
    blocks = circuits_config(run, "gpt2").published
    assert [(b.model, b.heads, len(b.rows)) for b in blocks] == [
        ("gpt2", 144, 20), ("gpt2-large", 720, 20), ("qwen2.5-0.5b", 336, 20), ("qwen2.5-7b", 784, 20)
    ]  # fmt: skip
    odd = []
    for block in blocks:
        sizes = {row.task: row.size for row in block.rows if row.method == "path_patching"}
        for row in block.rows:
            assert row.task in TASKS and 0 < row.performance < 1.1 and 0 < row.size < block.heads
            assert (row.tpr is None) == (row.method == "path_patching")
            if row.tpr is not None and abs(row.tpr * sizes[row.task] - round(row.tpr * sizes[row.task])) > 0.02:
                odd.append((block.model, row.task, row.method))
    assert len(odd) == 7 and all("Seven TPR" in b.note and "no whole number" in b.note for b in blocks), odd
    ratios = [
        r.ratio
        for b in circuits_config(compose_run(["experiment=app_cost"]), "gpt2").published
        for r in b.rows
        if r.ratio
    ]
    assert len(ratios) == 20
    assert 1 - 1 / max(ratios) == pytest.approx(0.9327, abs=1e-3), "the abstract's largest saving"
