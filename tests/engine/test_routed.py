"""Two passes: each document answered under its own patch, as if the others were not there."""

import pytest
import torch
from lm_eval.api.instance import Instance

from harness.config.compose import compose_model
from harness.engine import Deadline, EngineSettings, RoutedLM, TreeLM
from harness.models import ModelRef, load_base
from harness.patch import Patch, Query, Routing

NAMES = ("none", "noisy", "cut")


@pytest.fixture(scope="module")
def base():
    return load_base(ModelRef("lab-base", compose_model("lab-base")[1].path, device="cpu"))


@pytest.fixture(scope="module")
def patches(base):
    name = "model.layers.1.mlp.down_proj.weight"
    weight = base.model.get_parameter(name).detach()
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    return {"none": Patch(), "noisy": Patch({name: weight + 0.3 * noise}), "cut": Patch(kept_layers=(0, 1, 3))}


class ByNumber:
    """Routes by the number of the document, and counts how often it is asked."""

    def __init__(self, patches):
        self.identity, self.patches, self.calls = {}, patches, 0

    def identity_on(self, stage):
        return {}

    def route(self, queries, stage):
        self.calls += 1
        return Routing([NAMES[q.doc_id % 3] for q in queries], self.patches, about={"asked": len(queries)})


def opened(base):
    return lambda model: TreeLM(model, base.tokenizer, EngineSettings(seed=3))


def requests(kind, count=12):
    out = []
    for i in range(count):
        prompt = f"Question: Tom has {i + 2} apples and buys {3 * i} more. How many apples does Tom have now?\nAnswer:"
        sampled = {"until": ["\n"], "max_gen_toks": 12, "do_sample": True, "temperature": 0.8}
        arguments = {
            "loglikelihood": (prompt, f" {i}"),
            "loglikelihood_rolling": (prompt,),
            "generate_until": (prompt, sampled if i % 2 else {"until": ["\n"], "max_gen_toks": 12}),
        }[kind]
        out.append(Instance(kind, {}, arguments, 0, ("t", i, 1)))
    return out


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling", "generate_until"])
def test_each_document_is_answered_under_its_own_patch(base, patches, kind):
    before = {n: p.clone() for n, p in base.model.named_parameters()}
    asked = requests(kind)
    expected = []
    for request in asked:
        with patches[NAMES[request.doc_id % 3]].applied(base.model) as model:
            expected += getattr(opened(base)(model), kind)([request], disable_tqdm=True)
    router = ByNumber(patches)
    lm = RoutedLM(base.model, opened(base), router, [Query("t", i, "") for i in range(12)], None)
    found = getattr(lm, kind)(asked, disable_tqdm=True)
    if kind == "generate_until":
        assert found == expected
        assert len(set(found)) > 3
    else:
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-4, rtol=1e-5)
    assert router.calls == 1
    assert [lm.route_of("t", i) for i in range(4)] == ["none", "noisy", "cut", "none"]
    assert lm.accounting.requests == 12
    assert all(p.equal(before[n]) for n, p in base.model.named_parameters())


def test_pass_one_is_made_once_and_timed(base, patches):
    router = ByNumber(patches)
    lm = RoutedLM(base.model, opened(base), router, [Query("t", i, "") for i in range(12)], None)
    lm.loglikelihood(requests("loglikelihood"))
    lm.generate_until(requests("generate_until"))
    assert router.calls == 1
    assert lm.first_pass > 0
    assert lm.routing.about == {"asked": 12}


def test_the_deadline_of_whoever_opens_the_engine_holds_in_pass_two(base, patches):
    def late(model):
        lm = opened(base)(model)
        lm.cell_deadline = Deadline(1e-9, "cell t")
        return lm

    lm = RoutedLM(base.model, late, ByNumber(patches), [Query("t", i, "") for i in range(12)], None)
    with pytest.raises(TimeoutError, match="cell t passed its deadline"):
        lm.loglikelihood(requests("loglikelihood"))


def test_a_patch_that_fails_leaves_the_base(base, patches):
    wrong = {**patches, "cut": Patch({"nowhere": torch.zeros(1)})}
    lm = RoutedLM(base.model, opened(base), ByNumber(wrong), [Query("t", i, "") for i in range(12)], None)
    before = {n: p.clone() for n, p in base.model.named_parameters()}
    with pytest.raises(ValueError, match="the model has no such tensor"):
        lm.loglikelihood(requests("loglikelihood"))
    assert all(p.equal(before[n]) for n, p in base.model.named_parameters())
