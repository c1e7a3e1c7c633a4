"""Variants that choose while they are asked: what is read, what is found, and that others means the base."""

import json
from dataclasses import dataclass, replace

import pytest
import torch
from safetensors.torch import load_file
from test_svf import TRAIN, asking

from harness.config.compose import compose_model
from harness.config.specs import VariantSpec, compose_variant, inner_of
from harness.config.tuning import AskConfig, ClassifierVariant, FewShotVariant, PromptVariant, SvfVariant
from harness.engine import EngineSettings, TreeLM
from harness.models import ModelRef, load_base
from harness.patch import Patch, Query, Scored, export
from harness.svf import SvfConfig, SvfLayer
from harness.variants import build, plan_text
from harness.variants.asking import Asking
from harness.variants.few_shot import mixture
from harness.variants.injected import injected

ASK = AskConfig(
    prompt="Which of these is it? {question}\nA. one\nB. two\nAnswer:",
    labels={"one": "A", "two": "B", "others": "C"},
    pattern=r"^ ([A-D])",
    until=["\n"],
    max_tokens=4,
)


@pytest.fixture(scope="module")
def lab():
    return load_base(ModelRef("lab-base", compose_model("lab-base")[1].path, device="cpu"))


@pytest.fixture
def context(tmp_path):
    def asked(task, limit):
        return [
            f"Tom has {i} apples." if task == "sums" else f"What does the cat number {i} eat?" for i in range(limit)
        ]

    return asking(tmp_path, asked)


def zed(lab, folder, value, layers="0:2"):
    """An SVF adapter with one number for every singular value, saved."""
    modules = [f"model.layers.{i}.mlp.{n}_proj" for i in range(*map(int, layers.split(":"))) for n in ("up", "down")]
    with injected(lab, SvfConfig(target_modules=modules)) as adapted:
        for layer in adapted.base_model.layers().values():
            layer.svf_z["default"].data.fill_(value)
        adapted.save_pretrained(folder)
    return VariantSpec(folder.name, "adapter", compose_variant("adapter", None, {"path": str(folder)})[0].config)


class Stage:
    """A task whose documents are right under one mixture more than under others."""

    def __init__(self, lab, wanted=None, task="t", count=99):
        self.lab, self.wanted, self.task, self.count = lab, wanted, task, count
        self.calls, self.settings = [], {"engine": "tree"}

    def open(self):
        return TreeLM(self.lab.model, self.lab.tokenizer, EngineSettings())

    def examples(self, count, seed, other, tested):
        self.calls.append((count, seed, other, tested))
        return Documents(self.lab, self.wanted, min(count or self.count, self.count))


@dataclass
class Documents:
    """Documents that score by how near the model's z is to what is wanted."""

    lab: object
    wanted: float
    size: int
    digest: str = "d"

    def __len__(self):
        return self.size

    def part(self, start, stop):
        return replace(self, size=max(0, min(stop, self.size) - start))

    def scored(self, lm):
        z = [m.z_of("default").mean() for m in self.lab.model.modules() if isinstance(m, SvfLayer)]
        near = -abs(float(torch.stack(z).mean()) - self.wanted)
        return [Scored(round(near, 2), near)] * self.size


class TestReading:
    asking = Asking(ASK, ("one", "two", "others"), "others")

    @pytest.mark.parametrize(
        ("answer", "category"),
        [(" A", "one"), (" B and more", "two"), (" C", "others"), (" D", None), ("A", None), ("", None), ("no", None)],
    )
    def test_answers(self, answer, category):
        assert self.asking.read(answer) == category

    def test_the_last_box_counts_in_any_case(self):
        boxed = replace(ASK, labels={"math": "math", "code": "Code"}, pattern=AskConfig().pattern)
        asking = Asking(boxed, ("math", "code"), "others")
        assert asking.read(r"Not \boxed{math} but \boxed{ code }.") == "code"
        assert asking.read(r"\boxed{poetry}") is None

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"prompt": "what?"}, "no {question}"),
            ({"pattern": "("}, "no regular expression"),
            ({"pattern": "A|B"}, "no group"),
            ({"labels": {"one": "A", "others": "C"}}, "no answer for two"),
            ({"labels": {"one": "A", "two": "a", "others": "C"}}, "two categories have one answer"),
        ],
    )
    def test_what_cannot_be_asked(self, changes, text):
        with pytest.raises(ValueError, match=text):
            Asking(replace(ASK, **changes), ("one", "two", "others"), "others")

    def test_a_long_question_loses_its_beginning(self, lab):
        lm = TreeLM(lab.model, lab.tokenizer, EngineSettings())
        words = " ".join(f"apple {i}" for i in range(400))
        prompt = self.asking._fitting(lm, words)
        assert prompt.startswith("Which of these is it?")
        assert prompt.endswith("399\nA. one\nB. two\nAnswer:")
        assert len(lm.tok_encode(prompt)) <= lm.max_length - 4
        long = Asking(replace(ASK, prompt=words + ASK.prompt), ("one", "two", "others"), "others")
        with pytest.raises(ValueError, match=r"ask\.prompt alone takes more than the 188 tokens"):
            long._fitting(lm, "short")


def prompt_variant(lab, tmp_path):
    experts = {"one": zed(lab, tmp_path / "a", 1.1), "two": zed(lab, tmp_path / "b", 0.9, "1:3")}
    return PromptVariant(experts=experts, ask=ASK)


def test_the_route_is_what_the_model_says(lab, context, tmp_path):
    patch = build(lab, VariantSpec("p", "prompt", prompt_variant(lab, tmp_path)), context)
    stage = Stage(lab)
    queries = [Query("t", i, f"Tom has {i} apples and the vorash eats fish.") for i in range(12)]
    routing = patch.router.route(queries, stage)
    lm = stage.open()
    for query, route in zip(queries, routing.names, strict=True):
        ids = torch.tensor([lm.tok_encode(ASK.prompt.replace("{question}", query.text))])
        first = int(lab.model(ids).logits[0, -1].argmax())
        said = {" A": "one", " B": "two"}.get(lab.tokenizer.decode([first]), "others")
        assert route == said
    assert routing.patches["others"].is_empty
    assert set(routing.patches) == {"one", "two", "others"}
    assert not patch.is_empty
    touched = {c.name for c in patch.provenance.changes}
    assert touched == set(routing.patches["one"].tensors) | set(routing.patches["two"].tensors)
    assert patch.provenance.touched == sum(lab.model.get_parameter(n).numel() for n in touched)
    digest = routing.patches["one"].digest[:12]
    assert f"chosen for each document by the base: one ({digest})" in plan_text(lab, "p", patch)


def test_another_prompt_or_expert_is_another_variant(lab, context, tmp_path):
    config = prompt_variant(lab, tmp_path)
    digest = build(lab, VariantSpec("p", "prompt", config), context).digest
    assert build(lab, VariantSpec("p", "prompt", config), context).digest == digest
    other = replace(config, ask=replace(ASK, max_tokens=5))
    assert build(lab, VariantSpec("p", "prompt", other), context).digest != digest
    fewer = replace(config, experts={**config.experts, "two": zed(lab, tmp_path / "c", 0.8)})
    assert build(lab, VariantSpec("p", "prompt", fewer), context).digest != digest


def test_what_adapts_is_no_single_model(lab, context, tmp_path):
    patch = build(lab, VariantSpec("p", "prompt", prompt_variant(lab, tmp_path)), context)
    for write in (lambda: patch.save(tmp_path / "x"), lambda: export(lab, patch, tmp_path / "x")):
        with pytest.raises(ValueError, match="chooses a patch for each document"):
            write()
    with pytest.raises(ValueError, match="chooses a patch for each document"):
        Patch().then(patch, "model.layers", patch.provenance)
    assert not (tmp_path / "x").exists()


def test_a_classifier_learns_to_tell_kinds_apart(lab, context, tmp_path):
    config = ClassifierVariant(
        experts=prompt_variant(lab, tmp_path).experts,
        ask=ASK,
        tasks={"one": ["sums"], "two": ["cats"]},
        questions=48,
        held_back=16,
        train=replace(TRAIN, batch_size=32, steps=12, learning_rate=0.03, kl=0.0),
    )
    patch = build(lab, VariantSpec("c", "classifier", config), context)
    (folder,) = context.patches.glob("classifier-*")
    measured = json.loads((folder / "training.json").read_text())
    assert measured["best_score"] > measured["first_score"]
    assert patch.provenance.trained == measured["parameters"] == 12 * 128
    held = [Query("t", i, f"Tom has {i + 60} apples.") for i in range(8)]
    held += [Query("t", i, f"What does the cat number {i + 60} eat?") for i in range(8, 16)]
    routes = patch.router.route(held, Stage(lab)).names
    truth = ["one"] * 8 + ["two"] * 8
    assert sum(a == b for a, b in zip(routes, truth, strict=True)) / 16 >= (measured["first_score"] + 1) / 2
    with pytest.raises(ValueError, match="none for two"):
        build(lab, VariantSpec("c", "classifier", replace(config, tasks={"one": ["sums"]})), context)


def few_shot(lab, tmp_path, **changes):
    experts = [zed(lab, tmp_path / "high", 1.5), zed(lab, tmp_path / "low", 0.5)]
    quick = {"shots": 3, "held_back": 4, "iterations": 12, "population": 16, **changes}
    return FewShotVariant(experts=experts, **quick)


def test_the_mixture_is_the_one_that_the_shots_want(lab, context, tmp_path):
    before = {n: p.clone() for n, p in lab.model.named_parameters()}
    patch = build(lab, VariantSpec("f", "few_shot", few_shot(lab, tmp_path)), context)
    stage = Stage(lab, wanted=1.25)
    routing = patch.router.route([Query("t", i, "") for i in range(5)], stage)
    assert list(routing.names) == ["mixture"] * 5
    assert routing.about["alpha"] == pytest.approx({"high": 0.75, "low": 0.25}, abs=0.03)
    assert routing.seconds > 0
    assert all(p.equal(before[n]) for n, p in lab.model.named_parameters())
    for name, tensor in routing.patches["mixture"].tensors.items():
        # One number for every singular value scales the whole weight.
        torch.testing.assert_close(tensor, before[name] * 1.25, atol=0.01, rtol=0.05)
    assert stage.calls == [(7, 0, None, False)]
    again = patch.router.route([Query("t", 0, "")], Stage(lab, wanted=1.25))
    assert again.about == routing.about
    assert len(list(context.patches.glob("few_shot-*"))) == 1


def test_each_layer_may_have_a_mixture_of_its_own(lab, context, tmp_path):
    patch = build(lab, VariantSpec("f", "few_shot", few_shot(lab, tmp_path, per="layer", iterations=2)), context)
    about = patch.router.route([Query("t", 0, "")], Stage(lab, wanted=1.0)).about
    assert len(about["alphas"]) == 2
    patch = build(lab, VariantSpec("f", "few_shot", few_shot(lab, tmp_path, per="weight", iterations=2)), context)
    assert len(patch.router.route([Query("t", 0, "")], Stage(lab, wanted=1.0)).about["alphas"]) == 4


def test_the_base_may_be_one_of_them(lab, context, tmp_path):
    config = replace(few_shot(lab, tmp_path, base=True), experts=[zed(lab, tmp_path / "high", 1.5)])
    patch = build(lab, VariantSpec("f", "few_shot", config), context)
    found = patch.router.route([Query("t", 0, "")], Stage(lab, wanted=1.0)).about["alpha"]
    assert found["base"] > 0.9


def test_an_expert_is_known_by_what_it_computes(lab, context, tmp_path):
    """Not by the name of its folder, nor by where its base lay."""
    config = few_shot(lab, tmp_path)
    router = build(lab, VariantSpec("f", "few_shot", config), context).router
    before = router.identity["experts"]
    file = tmp_path / "high" / "adapter_config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "base_model_name_or_path": "/elsewhere"}))
    assert router.identity["experts"] == before
    zed(lab, tmp_path / "high", 1.4)
    assert router.identity["experts"]["low"] == before["low"]
    assert router.identity["experts"]["high"] != before["high"]


def test_mixtures_by_hand():
    z = {"a": {"m": torch.tensor([1.0, 2.0])}, "b": {"m": torch.tensor([3.0, 0.0]), "n": torch.tensor([5.0])}}
    out = mixture(z, ["a", "b", "base"], {"m": 0, "n": 1}, torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]]))
    assert out["m"].tolist() == [0.5 + 0.75 + 0.25, 1.0 + 0.0 + 0.25]
    assert out["n"].tolist() == [2.5 + 0.5]


def test_leaky_takes_the_tested_documents_and_says_so(lab, context, tmp_path):
    config = few_shot(lab, tmp_path, leaky=True, held_back=0, iterations=1)
    patch = build(lab, VariantSpec("f", "few_shot", config), context)
    stage = Stage(lab, wanted=1.0)
    about = patch.router.route([Query("t", 0, "")], stage).about
    assert stage.calls == [(None, 0, None, True)]
    assert about["leaky"]
    assert about["held_back"] == 96


def test_shots_may_come_from_another_task(lab, context, tmp_path):
    patch = build(lab, VariantSpec("f", "few_shot", few_shot(lab, tmp_path, shots_from={"t": "u"})), context)
    stage = Stage(lab, wanted=1.0, task="t(limit=3)")
    assert patch.router.identity_on(stage) == {"documents": "d", "count": 7}
    assert stage.calls == [(7, 0, "u", False)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"per": "head"}, "per 'head'"),
        ({"shots": 0}, "give at least 1 of each"),
        ({"population": 1}, "population 1"),
        ({"elite": 2.0}, "elite 2.0"),
        ({"held_back": 200}, "has 99 documents to draw from"),
    ],
)
def test_searches_that_cannot_work(lab, context, tmp_path, changes, text):
    with pytest.raises(ValueError, match=text):
        build(lab, VariantSpec("f", "few_shot", few_shot(lab, tmp_path, **changes)), context).router.route(
            [Query("t", 0, "")], Stage(lab, wanted=1.0)
        )


def test_an_expert_that_adapts_itself_is_refused(lab, context, tmp_path):
    """It has no tensors of its own: its documents would silently meet the base."""
    mixed = VariantSpec("f", "few_shot", few_shot(lab, tmp_path))
    config = replace(prompt_variant(lab, tmp_path), experts={"one": mixed, "two": zed(lab, tmp_path / "c", 0.8)})
    with pytest.raises(ValueError, match="few_shot chooses a patch for each document"):
        build(lab, VariantSpec("p", "prompt", config), context)


def test_a_search_depends_on_how_the_engine_is_run(lab, context, tmp_path):
    patch = build(lab, VariantSpec("f", "few_shot", few_shot(lab, tmp_path, iterations=1)), context)
    for engine in ("tree", "hf"):
        stage = Stage(lab, wanted=1.0)
        stage.settings = {"engine": engine}
        patch.router.route([Query("t", 0, "")], stage)
    assert len(list(context.patches.glob("few_shot-*"))) == 2
    (one, _) = context.patches.glob("few_shot-*")
    (one / "search.json").write_text("{")
    with pytest.raises(ValueError, match=r"search\.json cannot be read.*Delete"):
        for engine in ("tree", "hf"):
            stage.settings = {"engine": engine}
            patch.router.route([Query("t", 0, "")], stage)


def test_labels_may_hold_dots(lab, context, tmp_path):
    experts = [zed(lab, tmp_path / "high.v2", 1.5), zed(lab, tmp_path / "low(lr=0.1)", 0.5)]
    config = replace(few_shot(lab, tmp_path, iterations=1), experts=experts)
    patch = build(lab, VariantSpec("f", "few_shot", config), context)
    assert set(patch.router.route([Query("t", 0, "")], Stage(lab, wanted=1.0)).about["alpha"]) == {
        "high.v2",
        "low(lr=0.1)",
    }


def test_experts_that_cannot_be_mixed(lab, context, tmp_path):
    one = replace(few_shot(lab, tmp_path), experts=[zed(lab, tmp_path / "high", 1.5)])
    with pytest.raises(ValueError, match="fewer than two to mix"):
        build(lab, VariantSpec("f", "few_shot", one), context)
    lora = compose_variant("lora", None, {"task": "t"})[0]
    with pytest.raises(ValueError, match="is made by lora"):
        build(lab, VariantSpec("f", "few_shot", replace(one, experts=[*one.experts, lora])), context)


def test_who_names_experts_names_all_of_them():
    spec, _ = compose_variant("prompt", None, {"experts": {"math": "svf_math"}})
    assert list(spec.config.experts) == ["math"]
    assert spec.label == "prompt(experts=math:svf_math)"
    assert compose_variant("prompt", None, {"experts": {}})[0].config.experts == {}
    own = {"classifier": {"tasks": {"code": ["lab_solve"]}}}
    assert compose_variant("classifier", None, {}, own)[0].config.tasks == {"code": ["lab_solve"]}
    mixed = [{"variant": "svf", "questions": 3}, "svf_code"]
    assert compose_variant("few_shot", None, {"experts": mixed})[0].label == (
        "few_shot(experts=questions:3+variant:svf+svf_code)"
    )


@pytest.mark.parametrize(
    ("name", "experts", "text"),
    [
        ("prompt", {"math": None}, "None is no variant: give a name"),
        ("few_shot", [3], "3 is no variant: give a name"),
        ("prompt", {"math": {"task": "x"}}, "needs 'variant'"),
        ("prompt", ["svf_math"], "variant prompt"),
        ("few_shot", {"math": "svf_math"}, "variant few_shot"),
        ("few_shot", ["svf_maths"], "Did you mean svf_math"),
    ],
)
def test_experts_that_are_none(name, experts, text):
    with pytest.raises(ValueError, match=text):
        compose_variant(name, None, {"experts": experts})


def test_a_models_settings_reach_the_experts():
    """Those of a method, then those of one variant; what is typed for the outer variant is not theirs."""
    of_model = {"svf": {"questions": 7, "train": {"steps": 3}}, "svf_code": {"train": {"steps": 5}}}
    spec, taken = compose_variant("few_shot", None, {"shots": 4}, of_model)
    assert taken == {"shots"}
    steps = {s.label: (s.config.questions, s.config.train.steps, s.config.task) for s in inner_of(spec)[1:]}
    assert steps["svf_code"] == (7, 5, "mbpp")
    assert steps["svf_math"] == (7, 3, "gsm8k")
    with pytest.raises(ValueError, match="a method or a variant is expected"):
        compose_variant("few_shot", None, {}, {"svfs": {}})


class TestTransfer:
    @pytest.fixture(scope="class")
    def other(self):
        return load_base(ModelRef("lab-reasoner", compose_model("lab-reasoner")[1].path, device="cpu"))

    def made(self, lab, other, context, order, **changes):
        context = replace(context, base=lambda name: other)
        expert = SvfVariant(
            **{"task": "t", "held_back": 8, "train": TRAIN, "layers": "0:2", "init_std": 0.1, **changes}
        )
        config = compose_variant("transfer", None, {"source": "lab-reasoner", "order": order, "seed": 5})[0].config
        config.expert = VariantSpec("svf", "svf", expert)
        return build(lab, VariantSpec("t", "transfer", config), context)

    @pytest.mark.parametrize("form", ["plain", "conserving"])
    def test_the_z_of_one_model_scales_the_other(self, lab, other, context, form):
        patches = {order: self.made(lab, other, context, order, form=form) for order in ("ordered", "shuffled")}
        (trained,) = context.patches.glob("svf-*")
        stored = load_file(trained / "adapter_model.safetensors")
        for order, patch in patches.items():
            assert len(patch.tensors) == 6
            for name, tensor in patch.tensors.items():
                u, s, v = torch.linalg.svd(lab.model.get_parameter(name).detach().double(), full_matrices=False)
                z = stored[f"base_model.model.{name.removesuffix('.weight')}.svf_z"].double()
                factors = torch.diagonal(u.T @ tensor.double() @ v.T) / s
                if form == "conserving":
                    kept = torch.sigmoid(z)
                    if order == "ordered":
                        z = kept * s.sum() / (s * kept).sum()
                    else:  # which number goes where decides the sum that is kept
                        assert float((s * factors).sum() / s.sum()) == pytest.approx(1, abs=1e-4)
                        factors, z = factors / factors.mean(), kept / kept.mean()
                if order == "shuffled":
                    assert not torch.allclose(factors, z, atol=1e-3)
                    factors, z = factors.sort().values, z.sort().values
                torch.testing.assert_close(factors, z, atol=2e-3, rtol=2e-3)
        assert patches["ordered"].provenance.trained == 6 * 128

    def test_a_model_of_another_shape(self, lab, context):
        from conftest import tiny

        from harness.anatomy import Anatomy
        from harness.models import Base, fingerprint

        model = tiny("llama")
        small = Base(ModelRef("tiny", "nowhere"), model, lab.tokenizer, Anatomy.of(model), fingerprint(model))
        with pytest.raises(ValueError, match="z goes between models of equal shape"):
            self.made(small, lab, context, "ordered")

    def test_from_itself_or_in_an_odd_order(self, lab, context):
        with pytest.raises(ValueError, match="is the base itself"):
            self.made(lab, lab, context, "ordered")
        with pytest.raises(ValueError, match="order 'odd'"):
            self.made(lab, lab, context, "odd")
