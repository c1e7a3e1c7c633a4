"""Questions about images: answered by transformers' own generation, since the engine reads texts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lm_eval.models.utils import postprocess_generated_text
from tqdm import tqdm

from harness.data import told
from harness.models import Base
from harness.training.inputs import Inputs, on, together
from harness.training.reinforce import Question
from harness.variants.context import GradedQuestion, stops_of

PIXELS = ("pixel_values", "image_sizes")


@dataclass(frozen=True)
class Seeing:
    """Answers of a model that reads images, as it is now.

    Images are read anew whenever they are needed: their pixels would not fit for thousands of questions. Drawn answers
    depend on the seed, the question, and those that are asked beside it.

    Attributes:
        base: the model with its processor.
        max_tokens: tokens of an answer.
        batch_size: questions side by side.
    """

    base: Base
    max_tokens: int
    batch_size: int
    _asked: dict[str, GradedQuestion] = field(default_factory=dict)

    def questions(self, asked: Sequence[GradedQuestion]) -> list[Question]:
        """Questions as they are trained on.

        Raises:
            ValueError: for a question without an image, or one that does not fit, or inputs that are not known.
        """
        if bare := [q.name for q in asked if not q.images]:
            raise ValueError(f"{bare[0]} has no image; a training asks about images, or about none")
        out = []
        for question in tqdm(asked, desc="reading images", unit="question", leave=False, disable=None):
            self._asked[question.name] = question
            out.append(self._question(question))
        return out

    def _question(self, asked: GradedQuestion) -> Question:
        inputs = self._inputs(asked)
        prompt = tuple(inputs["input_ids"][0].tolist())
        if unknown := sorted(set(inputs) - {"input_ids", "attention_mask", *PIXELS}):
            raise ValueError(f"{self.base.name} takes {', '.join(unknown)} beside tokens; known: {', '.join(PIXELS)}")
        longest = getattr(self.base.model.config.get_text_config(), "max_position_embeddings", None)
        if longest is not None and len(prompt) + self.max_tokens > longest:
            raise ValueError(
                f"{asked.name} has {len(prompt)} tokens with those of its image, and {self.max_tokens} may answer it; "
                f"the context of {self.base.name} holds {longest}: lower variant.train.max_tokens"
            )
        stops = stops_of(asked.settings)

        def grade(tokens: Sequence[int]) -> float:
            return asked.grade(postprocess_generated_text(self.base.tokenizer.decode(list(tokens)), stops, None))

        def pixels() -> Inputs:
            made = self._inputs(asked)
            return {name: made[name] for name in PIXELS if name in made}

        return Question(prompt, asked.name, grade, pixels, "|".join(map(told, asked.images)))

    def _inputs(self, asked: GradedQuestion) -> Mapping[str, torch.Tensor]:
        processor: Any = self.base.processor
        text = asked.prompt.replace("<image>", processor.image_token)
        images = [image.convert("RGB") for image in asked.images]
        return processor(images=images, text=[text], return_tensors="pt")

    def __call__(self, questions: Sequence[Question], temperature: float, seed: int) -> list[list[int]]:
        """The tokens of an answer to each; the likeliest ones at temperature 0."""
        model = self.base.model
        out: list[list[int]] = []
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            for first in range(0, len(questions), self.batch_size):
                out += self._generate(questions[first : first + self.batch_size], temperature)
        return out

    def _generate(self, batch: Sequence[Question], temperature: float) -> list[list[int]]:
        model: Any = self.base.model
        # A token that stands for an image, in an answer, would have no image.
        image = model.config.image_token_id
        width = max(len(q.prompt) for q in batch)
        ids_RT = torch.tensor([[0] * (width - len(q.prompt)) + list(q.prompt) for q in batch], device=model.device)
        present_RT = torch.tensor([[0] * (width - len(q.prompt)) + [1] * len(q.prompt) for q in batch])
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
        settings = {"do_sample": False, **drawn, "max_new_tokens": self.max_tokens, "pad_token_id": 0}
        with torch.no_grad():
            made_RT = model.generate(
                input_ids=ids_RT,
                attention_mask=present_RT.to(model.device),
                suppress_tokens=[image],
                **settings,
                **on(model, together([q.inputs() for q in batch])),
            )
        answers = made_RT[:, width:].tolist()
        return [self._ended(answer, q) for answer, q in zip(answers, batch, strict=True)]

    def _ended(self, tokens: list[int], question: Question) -> list[int]:
        """An answer up to the token that ends it."""
        settings: Any = self.base.model.generation_config
        ends = _ids(settings.eos_token_id) | {self.base.tokenizer.eos_token_id}
        stops = stops_of(self._asked[question.name].settings)
        for n, token in enumerate(tokens, start=1):
            if token in ends or any(stop in self.base.tokenizer.decode(tokens[:n]) for stop in stops):
                return tokens[:n]
        return tokens


def _ids(told: int | list[int] | None) -> set[int]:
    return set(told if isinstance(told, list) else [] if told is None else [told])
