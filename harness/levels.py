"""Judging the stored answers of a run by level, after its cells: thresholds, labelled set, every variant."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lm_eval.api.instance import Instance

from harness.answers import answers_of, check_prompts, key_of, requests_of
from harness.config.compose import compose_variant
from harness.config.schema import LevelsConfig
from harness.engine import ResidentLM, open_engine
from harness.evaluation.bench import Bench
from harness.evaluation.cells import CellResult
from harness.evaluation.grid import PlannedCell
from harness.evaluation.judged import JudgedTask, JudgedVariant, load, path_of, save
from harness.evaluation.runner import engine_settings
from harness.stethoscope.levels import (
    Agreement,
    AskedJudge,
    Example,
    Reader,
    Thresholds,
    agree,
    calibrate,
    degenerate,
    halves,
    labelled_set,
    level_of,
)
from harness.stethoscope.levels.features import Asked, Features
from harness.stethoscope.levels.labelled import Answer
from harness.stethoscope.levels.rule import RULE


def judge_run(bench: Bench, say: Callable[[str], None]) -> list[Path]:
    """Judges the answers of every chosen task of every model; what was judged before is not judged again.

    Args:
        bench: of a run whose cells are stored.
        say: is told what goes on, line by line.

    Returns:
        The files that hold the levels.

    Raises:
        ValueError: if a task has no answers to read, or too few to set thresholds.
    """
    wanted = set(bench.grid.run.levels.tasks)
    groups: dict[tuple[str, str], list[PlannedCell]] = {}
    for cell in bench.grid.cells:
        if cell.name.task.partition("(")[0] in wanted:
            groups.setdefault((cell.name.model, cell.name.task), []).append(cell)
    return [path for cells in groups.values() for path in _judge_task(bench, cells, say)]


def _judge_task(bench: Bench, cells: Sequence[PlannedCell], say: Callable[[str], None]) -> list[Path]:
    """Judges one task of a model."""
    run, first = bench.grid.run, cells[0]
    where = f"{first.name.model}, {first.name.task}"
    results = {c.name.variant: r for c in cells if (r := bench.store.get(c.name)) is not None}
    # Of a job of a sweep the baseline may be another job's.
    baseline = bench.store.get(replace(first.name, variant=run.baseline))
    if baseline is None:
        say(
            f"levels of {where}: not judged, since {run.baseline}, whose answers set the thresholds, has no stored cell"
        )
        return []
    base = bench.base(first.model)
    settings = {
        **{k: v for k, v in asdict(run.levels).items() if k != "tasks"},
        "reader": base.fingerprint,
        "baseline": baseline.digest,
    }
    path = path_of(bench.store.folder, first.name.model, first.name.task)
    before = load(path) if path.is_file() else None
    if before is not None and before.settings != settings:
        before = None
    # Those of other runs into this folder stay as long as their cells do.
    kept = {v: j for v, j in before.variants.items() if _is_stored(bench, first, v, j)} if before else {}
    todo = [c for c in cells if c.name.variant in results and c.name.variant not in kept]
    if not todo:
        return [path]
    say(f"levels of {where}: reading the answers of {', '.join(c.name.variant for c in todo)}")
    work = _Work.of(bench, first, baseline)
    if before is None:
        before = work.learn(settings, say)
    thresholds = Thresholds(**before.thresholds) if before.thresholds else None
    judged = {c.name.variant: work.variant(c, results[c.name.variant], thresholds) for c in todo}
    together = {**kept, **judged}
    order = dict.fromkeys([*(c.name.variant for c in cells if c.name.variant in together), *together])
    return [save(bench.store.folder, replace(before, variants={v: together[v] for v in order}))]


def _is_stored(bench: Bench, planned: PlannedCell, variant: str, judged: JudgedVariant) -> bool:
    result = bench.store.get(replace(planned.name, variant=variant))
    return result is not None and result.digest == judged.cell


@dataclass(frozen=True)
class _Work:
    """What reading the answers of one task takes."""

    bench: Bench
    planned: PlannedCell
    config: LevelsConfig
    lm: ResidentLM
    requests: dict[str, Instance]
    base: list[Answer]
    reader: Reader | None
    judge: AskedJudge | None

    @classmethod
    def of(cls, bench: Bench, planned: PlannedCell, result: CellResult) -> _Work:
        """Opens the base, the task's prompts, and the judge."""
        run = bench.grid.run
        lm = _open(bench, planned)
        requests = requests_of(bench, planned, lm)
        prompts = {key: request.args[0] for key, request in requests.items()}
        outcomes = bench.store.outcomes(result.name)
        check_prompts(outcomes, prompts, result)
        config, reader, judge = run.levels, None, None
        if config.judge == "rule":
            reader = Reader(lm, prompts, config.prompts, config.tokens, config.seed)
        else:
            judge = AskedJudge(config.judge, config.judge_args, prompts)
        return cls(bench, planned, config, lm, requests, answers_of(result, outcomes), reader, judge)

    def learn(self, settings: dict[str, object], say: Callable[[str], None]) -> JudgedTask:
        """Thresholds from one half of the base's documents, agreement from the other."""
        prompts = {key: request.args[0] for key, request in self.requests.items()}
        chosen = self.base[: self.config.documents]
        teach, test = halves([a.document for a in chosen], self.config.seed)
        thresholds, name = None, self.config.judge
        if self.reader is not None:
            learned = labelled_set([a for a in chosen if a.document in teach], {}, prompts, self.config.seed)
            features = self.reader.read([e.asked for e in learned])
            of = {
                kind: [f for e, f in zip(learned, features, strict=True) if e.level in levels]
                for kind, levels in {"own": (3, 4), "swapped": (2,), "shuffled": (1,)}.items()
            }
            thresholds = calibrate(of["own"], of["swapped"], of["shuffled"])
        else:
            name = f"{name} {self.config.judge_args.get('model', self.config.judge_args.get('pretrained', ''))}".strip()
        destroyed = {variant: self._destroyed(variant, sorted(test)) for variant in self.config.destroyed}
        examples = labelled_set([a for a in chosen if a.document in test], destroyed, prompts, self.config.seed + 1)
        agreement = self._agreement(examples, thresholds)
        good, n = agreement.of()
        say(f"levels: the judge agrees with {good} of {n} labelled answers ({good / max(n, 1):.0%})")
        return JudgedTask(
            model=self.planned.name.model,
            task=self.planned.name.task,
            baseline=self.bench.grid.run.baseline,
            judge=name,
            rule=RULE if self.reader else "IV: the task's scorer calls it right. Else as the judge model says.",
            thresholds=asdict(thresholds) if thresholds else {},
            settings=dict(settings),
            calibrated=len(teach) if thresholds else 0,
            agreement={kind: list(row) for kind, row in agreement.counts.items()},
            truth=agreement.truth,
            variants={},
        )

    def variant(self, cell: PlannedCell, result: CellResult, thresholds: Thresholds | None) -> JudgedVariant:
        """Judges one variant's answers."""
        outcomes = self.bench.store.outcomes(result.name)
        prompts = {key: request.args[0] for key, request in self.requests.items()}
        check_prompts(outcomes, prompts, result)
        answers = answers_of(result, outcomes)
        levels, features = self._levels([(Asked(a.document, a.text), a.right) for a in answers], thresholds)
        read = zip(answers, features, strict=True) if features else ()
        return JudgedVariant(
            cell=result.digest,
            documents={a.document: level for a, level in zip(answers, levels, strict=True)},
            tokens={key_of(o.subtask, o.doc_id): o.generated_tokens for o in outcomes if o.filter == result.filter},
            features={a.document: [_number(f.fluency), _number(f.relevance), f.repetition] for a, f in read},
        )

    def _agreement(self, examples: list[Example], thresholds: Thresholds | None) -> Agreement:
        levels, _ = self._levels([(e.asked, e.level == 4) for e in examples], thresholds)
        return agree(examples, levels)

    def _levels(
        self, asked: Sequence[tuple[Asked, bool]], thresholds: Thresholds | None
    ) -> tuple[list[int | None], list[Features]]:
        if self.reader is not None:
            assert thresholds is not None
            features = self.reader.forms([item for item, _ in asked])
            # What the scorer or its form settles need not be scored: most of what variants write.
            open_ones = [
                i for i, (_, right) in enumerate(asked) if not right and not degenerate(features[i], thresholds)
            ]
            for i, scored in zip(open_ones, self.reader.read([asked[i][0] for i in open_ones]), strict=True):
                features[i] = scored
            return [level_of(f, right, thresholds) for f, (_, right) in zip(features, asked, strict=True)], features
        assert self.judge is not None
        answers = iter(self.judge.judge([item for item, right in asked if not right]))
        return [4 if right else next(answers) for _, right in asked], []

    def _destroyed(self, name: str, documents: Sequence[str]) -> list[Answer]:
        """What a destroyed variant answers to some documents."""
        spec = compose_variant(name, None, {})[0]
        planned = replace(self.planned, variant=spec, name=replace(self.planned.name, variant=spec.label))
        patch = self.bench.patch(planned)
        requests = [replace(self.requests[key], resps=[], filtered_resps={}) for key in documents]
        with patch.applied(self.bench.base(self.planned.model).model):
            texts = _open(self.bench, self.planned).generate_until(requests, disable_tqdm=True)
        return [Answer(key, text, False) for key, text in zip(documents, texts, strict=True)]


def _number(value: float) -> float | None:
    """None for what was not scored: JSON has no NaN."""
    return value if math.isfinite(value) else None


def _open(bench: Bench, planned: PlannedCell) -> ResidentLM:
    run, base = bench.grid.run, bench.base(planned.model)
    settings = engine_settings(run.runtime, run.seed)
    runtime = run.runtime
    return open_engine(
        base.model, base.tokenizer, run.engine, settings, runtime.max_length, runtime.attn_implementation
    )
