"""z trained on questions about images, on a tiny random model and generated pictures."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import log_softmax
from transformers import LlavaNextImageProcessorPil
from vision_support import bench, make

from harness.config.training import RLConfig
from harness.models import ModelRef, load_base
from harness.svf import SvfConfig
from harness.training.inputs import together
from harness.training.objective import objective
from harness.variants.answering import reinforced
from harness.variants.injected import injected, modules_of
from harness.variants.seeing import Seeing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("seeing"))


@pytest.fixture(scope="module")
def base(folder):
    return load_base(ModelRef("tiny-llava", str(folder / "model"), device="cpu"))


def picture(seed, size=(30, 40)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))


@dataclass(frozen=True)
class Asked:
    """A question whose right answers hold one of some letters."""

    prompt: str
    name: str
    images: tuple[Any, ...]
    right: str = "aeiou"
    digest = target = ""

    @property
    def settings(self):
        return {"until": ["\n"]}

    def grade(self, text):
        return 1.0 if set(text) & set(self.right) else -1.0


def asked(count, first=0):
    return [
        Asked(f"<image>Which {'big ' * (i % 3)}sign is it?", f"q{i}", (picture(i),))
        for i in range(first, first + count)
    ]


def inputs_of(base, question, answer=()):
    inputs = base.processor(images=list(question.images), text=[question.prompt], return_tensors="pt")
    ids = torch.cat([inputs["input_ids"], torch.tensor([list(answer)], dtype=torch.long)], 1)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": inputs["pixel_values"]}


def test_answers_in_a_batch_are_those_of_each_alone(base):
    questions = asked(5)
    seeing = Seeing(base, 6, 3)
    answers = seeing(seeing.questions(questions), 0.0, 0)
    for question, answer in zip(questions, answers, strict=True):
        inputs = inputs_of(base, question)
        with torch.no_grad():
            made = base.model.generate(**inputs, max_new_tokens=6, do_sample=False, pad_token_id=0)
        assert made[0, inputs["input_ids"].shape[1] :].tolist()[: len(answer)] == answer
        assert len(answer) == 6 or answer[-1] == base.tokenizer.eos_token_id or "\n" in base.tokenizer.decode(answer)
    other = [Asked(q.prompt, q.name, (picture(100 + i),)) for i, q in enumerate(questions)]
    assert seeing(seeing.questions(other), 0.0, 0) != answers, "the picture is not read"


def test_drawn_answers_are_seeded_and_hold_no_image(base):
    seeing = Seeing(base, 8, 4)
    questions = seeing.questions(asked(4))
    state = torch.random.get_rng_state()
    one, same, other = (seeing(questions, 3.0, seed) for seed in (0, 0, 1))
    assert one == same
    assert one != other
    assert torch.random.get_rng_state().equal(state)
    image = base.tokenizer.convert_tokens_to_ids("<image>")
    assert not any(image in answer for answer in one + other)


def test_the_objective_is_that_of_each_question_alone(base):
    """Rows of one batch, their prompts and answers of other lengths, against one forward pass for each by hand."""
    questions = asked(3)
    answers, rewards = [[5, 6, 7], [8], [9, 10]], [1.0, -0.1, 1.0]
    seeing = Seeing(base, 6, 3)
    items = seeing.questions(questions)
    with injected(base, SvfConfig(target_modules=list(modules_of(base, ["mlp"], None)), init=1.1)) as adapted:
        z = [p for p in base.model.parameters() if p.requires_grad]
        config = RLConfig(kl=0.3)
        more = together([q.inputs() for q in items])
        loss, penalty = objective(
            base.model, [q.prompt for q in items], answers, rewards, adapted.disable_adapter, config, more
        )
        got = torch.autograd.grad(loss, z)
        expected, distances = torch.zeros(()), 0.0
        for question, answer, reward in zip(questions, answers, rewards, strict=True):
            inputs = inputs_of(base, question, answer)
            with torch.no_grad(), adapted.disable_adapter():
                old = log_softmax(base.model(**inputs).logits[0], -1)
            new = log_softmax(base.model(**inputs).logits[0], -1)
            for place, token in enumerate(answer, new.shape[0] - len(answer)):
                expected = expected - reward * new[place - 1, token]
                distance = (new[place - 1].exp() * (new[place - 1] - old[place - 1])).sum()
                expected, distances = expected + 0.3 * distance, distances + float(distance.detach())
        for ours, theirs in zip(got, torch.autograd.grad(expected, z), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
    assert penalty == pytest.approx(distances, rel=1e-4)
    assert penalty > 0


def test_images_of_other_patches_are_put_together_as_the_processor_does():
    make_inputs = LlavaNextImageProcessorPil(
        size={"shortest_edge": 14}, crop_size={"height": 14, "width": 14}, image_grid_pinpoints=[[14, 28], [28, 28]]
    )
    pictures = [picture(0, (14, 28)), picture(1, (28, 28))]
    whole = make_inputs(pictures, return_tensors="pt")
    rows = [dict(make_inputs([one], return_tensors="pt")) for one in pictures]
    assert {row["pixel_values"].shape[1] for row in rows} == {3, 5}
    made = together(rows)
    assert set(made) == {"pixel_values", "image_sizes"}
    for name, tensor in made.items():
        assert tensor.equal(whole[name])


def test_z_learns_what_is_rewarded_and_the_tower_stays(base):
    before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    config = RLConfig(
        learning_rate=0.05, schedule="constant", clip=1.0, batch_size=16, steps=24, kl=0.0, max_tokens=3,
        evaluate_every=4, wrong=-0.1,
    )  # fmt: skip
    vowels = [Asked(q.prompt, q.name, q.images, "ae") for q in asked(56)]
    modules = list(modules_of(base, ["mlp", "o_proj", "v_proj"], None))
    with injected(base, SvfConfig(target_modules=modules)) as adapted:
        done = reinforced(base, adapted, vowels, 24, config)
        assert all("language_model" in name for name in done.values)
    assert done.best_score > done.first_score
    assert min(done.rewards) >= -0.1
    for name, parameter in base.model.named_parameters():
        assert parameter.equal(before[name])


def test_the_variant_trains_on_the_task_and_is_evaluated(folder, tmp_path):
    """From the config to a result: what was trained, and on which documents."""
    small = ["train.steps=2", "train.batch_size=4", "train.clip=1.0", "train.max_tokens=4"]
    settings = [f"variant.{one}" for one in ("questions=10", "held_back=3", *small)]
    made = bench(folder, tmp_path, "variants=[base,svf_textvqa]", "tasks=[textvqa]", *settings)
    result = made.evaluate(made.grid.cells[1]).result
    assert result.n == 12
    (trained,) = (tmp_path / "patches").glob("svf-*")
    measured = json.loads((trained / "training.json").read_text())
    assert measured["parameters"] == 2 * 3 * 32
    assert measured["steps"] == 2
    assert measured["last_reward"] == pytest.approx(-0.1)
    with pytest.raises(ValueError, match="textvqa asks about images, which next-token prediction does not read"):
        other = bench(folder, tmp_path, "variants=[base,svf_textvqa]", "variant.objective=next_token")
        other.evaluate(other.grid.cells[2])


def test_one_question_about_two_pictures_is_two_questions(base):
    questions = [Asked("<image>What is it?", f"q{i}", (picture(i),)) for i in range(8)]
    items = Seeing(base, 4, 4).questions(questions)
    assert len({q.prompt for q in items}) == 1
    assert len({q.about for q in items}) == 8


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (Asked("What is it?", "bare", ()), "bare has no image"),
        (Asked("<image>" + "word " * 150, "long", (picture(0),)), "long has .* tokens with those of its image"),
    ],
)
def test_questions_that_cannot_be_asked(base, question, text):
    with pytest.raises(ValueError, match=text):
        Seeing(base, 4, 4).questions([*asked(2), question])
