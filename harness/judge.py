"""Reading the answers of one task of a model: thresholds, the labelled set, and one variant after the other."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from harness.answers import answers_of, check_prompts, requests_of
from harness.config.compose import names_of
from harness.config.schema import LevelsConfig
from harness.config.specs import compose_variant
from harness.engine import ResidentLM, open_engine
from harness.evaluation.bench import Bench
from harness.evaluation.cells import CellResult, Outcome
from harness.evaluation.grid import PlannedCell, model_ref
from harness.evaluation.judged import JudgedExample, JudgedTask, JudgedVariant, key_of, known_by
from harness.evaluation.runner import engine_settings
from harness.stethoscope.levels import (
    AskedJudge,
    Reader,
    Thresholds,
    calibrate,
    degenerate,
    halves,
    labelled_set,
    level_of,
)
from harness.stethoscope.levels.features import Asked, Features
from harness.stethoscope.levels.labelled import Answer
from harness.stethoscope.levels.rule import RULE

TEACHER = "base"
ELSEWHERE = 4  # prompts of other tasks that an answer is scored under


@dataclass(frozen=True)
class TaskOf:
    """A task of a model, with the stored answers of the base.

    Attributes:
        planned: one of its cells.
        result: the base's cell.
    """

    planned: PlannedCell
    result: CellResult


class Judge:
    """Judges the answers of one task.

    Args:
        bench: of the run.
        task: the task.
        siblings: the model's other tasks whose answers are judged.

    Raises:
        ValueError: for a task without single generated answers, or whose stored answers were asked in other words.
    """

    def __init__(self, bench: Bench, task: TaskOf, siblings: Sequence[TaskOf]) -> None:
        self._bench, self._task, self._siblings = bench, task, siblings
        self._config: LevelsConfig = bench.grid.run.levels
        self._lm = self._open()
        self._requests = requests_of(bench, task.planned, self._lm)
        self._prompts = {key: request.args[0] for key, request in self._requests.items()}
        self._base = self._answers(task.result, bench.store.outcomes(task.result.name))

    def learn(self, settings: Mapping[str, Any]) -> JudgedTask:
        """Thresholds from one half of the base's documents, the labelled set from the other.

        Args:
            settings: what the judge was told, to be stored.
        """
        seed, most = self._config.seed, self._config.documents
        rng = random.Random(seed)
        chosen = self._base if most is None or most >= len(self._base) else rng.sample(self._base, most)
        teach, test = halves([a.document for a in chosen], seed)
        foreign = [item for items in self._elsewhere.values() for item in items]
        rng.shuffle(foreign)
        thresholds, calibrated = None, 0
        if self._config.judge == "rule":
            half = [a for a in chosen if a.document in teach]
            learned = labelled_set(half, {}, foreign[::2], self._prompts, seed)
            features = self._reader.read([e.asked for e in learned])
            own, swapped, shuffled = (
                [f for e, f in zip(learned, features, strict=True) if e.level in levels]
                for levels in ((3, 4), (2,), (1,))
            )
            # Answers to other tasks are language; only those to this one show where its relevance ends.
            partners = [f for e, f in zip(learned, features, strict=True) if e.kind == "swapped"]
            thresholds, calibrated = calibrate(own, partners, swapped, shuffled), len(own)
        half = [a for a in chosen if a.document in test]
        destroyed = {variant: self._destroyed(variant, sorted(test)) for variant in self._config.destroyed}
        examples = labelled_set(half, destroyed, foreign[1::2], self._prompts, seed + 1)
        levels, _ = self._levels([(e.asked, e.level == 4) for e in examples], thresholds)
        return JudgedTask(
            model=self._task.planned.name.model,
            task=self._task.planned.name.task,
            teacher=TEACHER,
            judge=self._name,
            rule=RULE if thresholds else "IV: the task's scorer calls it right. Else as the judge model says.",
            thresholds=asdict(thresholds) if thresholds else {},
            settings=dict(settings),
            calibrated=calibrated,
            examples=[JudgedExample(e.kind, e.level, e.source, j) for e, j in zip(examples, levels, strict=True)],
            variants={},
        )

    def variant(self, result: CellResult, thresholds: Mapping[str, float]) -> JudgedVariant:
        """Judges one variant's answers."""
        outcomes = self._bench.store.outcomes(result.name)
        answers = self._answers(result, outcomes)
        asked = [(Asked(self._prompts[a.document], a.text), a.right) for a in answers]
        levels, features = self._levels(asked, Thresholds(**thresholds) if thresholds else None)
        read = zip(answers, features, strict=True) if features else ()
        return JudgedVariant(
            cell=known_by(result),
            documents={a.document: level for a, level in zip(answers, levels, strict=True)},
            tokens={key_of(o.subtask, o.doc_id): o.generated_tokens for o in outcomes if o.filter == result.filter},
            features={a.document: [_number(f.fluency), _number(f.relevance), f.repetition] for a, f in read},
        )

    def _answers(self, result: CellResult, outcomes: Sequence[Outcome]) -> list[Answer]:
        check_prompts(outcomes, self._prompts, result)
        return answers_of(result, outcomes)

    @cached_property
    def _elsewhere(self) -> dict[str, list[Asked]]:
        """What the base answers to other tasks, by task."""
        out = {}
        for task in self._siblings:
            requests = requests_of(self._bench, task.planned, self._lm)
            answers = answers_of(task.result, self._bench.store.outcomes(task.result.name))
            out[task.planned.name.task] = [
                Asked(requests[a.document].args[0], a.text) for a in answers if a.document in requests
            ]
        return out

    @cached_property
    def _reader(self) -> Reader:
        prompts = sorted({item.prompt for items in self._elsewhere.values() for item in items})
        elsewhere = random.Random(self._config.seed).sample(prompts, min(ELSEWHERE, len(prompts)))
        config = self._config
        return Reader(self._lm, list(self._prompts.values()), config.prompts, config.tokens, elsewhere, config.seed)

    @cached_property
    def _model(self) -> AskedJudge:
        return AskedJudge(self._config.judge, self._config.judge_args, self._config.judge_tokens)

    @property
    def _name(self) -> str:
        args = self._config.judge_args
        return f"{self._config.judge} {args.get('model', args.get('pretrained', ''))}".strip()

    def _levels(
        self, asked: Sequence[tuple[Asked, bool]], thresholds: Thresholds | None
    ) -> tuple[list[int | None], list[Features]]:
        """Levels, and what the rule read."""
        if thresholds is None:
            answers = iter(self._model.judge([item for item, right in asked if not right]))
            return [4 if right else next(answers) for _, right in asked], []
        features = self._reader.forms([item for item, _ in asked])
        # What the scorer or its form settles need not be scored: most of what variants write.
        settled = [right or degenerate(f, thresholds) for f, (_, right) in zip(features, asked, strict=True)]
        left = [i for i, done in enumerate(settled) if not done]
        for i, scored in zip(left, self._reader.read([asked[i][0] for i in left]), strict=True):
            features[i] = scored
        return [level_of(f, right, thresholds) for f, (_, right) in zip(features, asked, strict=True)], features

    def _destroyed(self, name: str, documents: Sequence[str]) -> list[Answer]:
        """What a destroyed variant answers to some documents."""
        run, planned = self._bench.grid.run, self._task.planned
        configs = [config for ref, config in (model_ref(n, run) for n in names_of(run.model)) if ref == planned.model]
        spec = compose_variant(name, configs[0].donor if configs else None, {})[0]
        patch = self._bench.patch(replace(planned, variant=spec, name=replace(planned.name, variant=spec.label)))
        requests = [replace(self._requests[key], resps=[], filtered_resps={}) for key in documents]
        with patch.applied(self._bench.base(planned.model).model):
            texts = self._open().generate_until(requests)
        return [Answer(key, text, False) for key, text in zip(documents, texts, strict=True)]

    def _open(self) -> ResidentLM:
        run, base = self._bench.grid.run, self._bench.base(self._task.planned.model)
        settings, runtime = engine_settings(run.runtime, run.seed), run.runtime
        attention = runtime.attn_implementation
        return open_engine(base.model, base.tokenizer, run.engine, settings, runtime.max_length, attention)


def _number(value: float) -> float | None:
    """None for what was not scored: JSON has no NaN."""
    return value if math.isfinite(value) else None
