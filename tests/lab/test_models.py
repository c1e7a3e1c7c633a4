"""The committed lab models: the very files, what they can do, and that the recipe makes such models."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2ForCausalLM

from harness.config.compose import compose_run, known
from harness.config.paths import LAB_WEIGHTS
from harness.evaluation.bench import Bench
from harness.evaluation.grid import plan_grid
from harness.lab import corpus, packing, train, words
from harness.lab.card import DIGESTS, digests
from harness.lab.tokenizer import train_tokenizer

NAMES = sorted(p.name for p in LAB_WEIGHTS.iterdir() if p.is_dir())


def test_weights_are_the_committed_ones():
    recorded = dict(reversed(line.split("  ")) for line in DIGESTS.read_text().splitlines())
    assert digests() == recorded


def test_there_are_eight_checkpoints_and_a_donor_within_twelve_megabytes():
    checkpoints = [n for n in NAMES if n.startswith("lab-base")]
    assert len(checkpoints) >= 8
    assert "lab-reasoner" in NAMES
    assert sum(f.stat().st_size for f in LAB_WEIGHTS.glob("*/*.safetensors")) <= 12e6
    assert set(NAMES) <= set(known("models"))


@pytest.mark.parametrize("name", NAMES)
def test_model_loads_as_any_other(name):
    model = AutoModelForCausalLM.from_pretrained(LAB_WEIGHTS / name)
    assert model.config.model_type == "qwen2"
    assert model.dtype == torch.bfloat16
    assert model.num_parameters() == json.loads((LAB_WEIGHTS / "training.json").read_text())["parameters"]


def test_tokenizer_is_what_the_recipe_makes_and_loses_nothing():
    stored = AutoTokenizer.from_pretrained(LAB_WEIGHTS / "lab-base")
    assert train_tokenizer(train.BASE.seed, train.VOCAB_SIZE).get_vocab() == stored.get_vocab()
    for text in ("a 12  b\n\n  c\t", "def f(x):\n    return x\n", "Ünïcode 漢字 🙂", ""):
        assert stored.decode(stored(text)["input_ids"]) == text
    for word in (*words.NAMES, *words.PLACES, *words.OBJECTS):
        assert len(stored(f" {word}")["input_ids"]) == 1
    assert len(stored("345")["input_ids"]) == 3


def test_prompt_and_completion_are_cut_where_they_meet():
    """HumanEval's prompts end in a line break: the tokens must be the same alone and together."""
    stored = AutoTokenizer.from_pretrained(LAB_WEIGHTS / "lab-base")
    rng = __import__("random").Random(0)
    for source in corpus.BASE_WEIGHTS:
        text = corpus.draw(source, rng, 0.5)
        whole, prompt = (stored(t)["input_ids"] for t in (text.prompt + text.completion, text.prompt))
        assert whole[: len(prompt)] == prompt, source


def test_a_packed_document_is_seen_as_if_alone():
    """Logits of a document in a packed row equal those of the document by itself."""
    tokenizer = AutoTokenizer.from_pretrained(LAB_WEIGHTS / "lab-base")
    model = AutoModelForCausalLM.from_pretrained(LAB_WEIGHTS / "lab-base", dtype=torch.float32).eval()
    batch = next(packing.pack(tokenizer, corpus.stream(3, "base"), 2, 192))
    with torch.no_grad():
        packed = model(
            input_ids=batch.ids_RT, attention_mask=batch.mask_R1TT, position_ids=batch.positions_RT, use_cache=False
        ).logits
        for document in range(int(batch.documents_RT[1].max()) + 1):
            at = batch.documents_RT[1] == document
            alone = model(input_ids=batch.ids_RT[1, at][None], use_cache=False).logits[0]
            torch.testing.assert_close(packed[1, at], alone, atol=1e-4, rtol=1e-4)


def test_a_short_run_of_the_recipe_learns():
    """Loss falls well below that of guessing among the tokens, on text it has not seen."""
    tokenizer = AutoTokenizer.from_pretrained(LAB_WEIGHTS / "lab-base")
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(train.model_config(len(tokenizer)))
    recipe = train.Recipe("base", steps=30, rows=8, warmup=5)
    curve = train.train(model, tokenizer, recipe, log_every=10)
    means = [sum(p["loss"].values()) / len(p["loss"]) for p in curve]
    assert means[0] > means[1] > means[2]
    assert means[0] - means[2] > 1.5
    assert curve[-1]["step"] == 30


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Both lab models on the whole lab suite."""
    folder = tmp_path_factory.mktemp("lab")
    run = compose_run(["model=[lab-base,lab-reasoner]", f"results.dir='{folder}'", "runtime.device=cpu", "limit=100"])
    bench = Bench(grid := plan_grid(run))
    return {(c.name.model, c.name.task): bench.evaluate(c).result.score for c in grid.cells}


def test_facts_and_ioi_are_far_above_chance(scores):
    for model in ("lab-base", "lab-reasoner"):
        assert scores[model, "ioi"] > 0.9
        assert scores[model, "lab_arc"] > 0.5
        assert scores[model, "lab_mmlu"] > 0.4


def test_reasoning_is_latent_in_the_base_and_out_in_the_donor(scores):
    for task in ("lab_gsm8k", "lab_math"):
        assert scores["lab-reasoner", task] > scores["lab-base", task] + 0.15
    assert scores["lab-base", "lab_gsm8k"] < 0.6 < scores["lab-reasoner", "lab_gsm8k"]


def test_donor_writes_programs(scores):
    assert scores["lab-reasoner", "lab_humaneval"] > 0.3


def test_sampled_answers_of_the_base_are_right_often_enough_to_reinforce(tmp_path):
    """At temperature 1 a fair share of problems that greedy decoding misses is solved in some of 4 samples."""
    overrides = [
        "tasks=[lab_gsm8k]",
        "limit=60",
        "task.repeats=4",
        "task.generation={do_sample:true,temperature:1.0}",
        f"results.dir='{tmp_path}'",
        "runtime.device=cpu",
    ]
    bench = Bench(grid := plan_grid(compose_run(overrides)))
    result = bench.evaluate(grid.cells[0]).result
    right = [
        sum(str(text).split("#### ")[-1] == gold for text in outcome.response[0])
        for outcome, gold in zip(bench.store.outcomes(result.name), _golds(60), strict=True)
    ]
    assert sum(r > 0 for r in right) > 20
    assert sum(0 < r < 4 for r in right) > 10


def _golds(count):
    from harness.lab import datasets

    return [row["answer"].split("#### ")[1] for row in datasets.rows("gsm8k", "test")[:count]]
