"""Variants that choose among experts while they are asked (Transformer-Squared, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from harness.config.specs import VariantSpec
from harness.config.tuning import ClassifierVariant, FewShotVariant, PromptVariant
from harness.models import Base
from harness.patch import Change, Patch
from harness.variants import tuned
from harness.variants.adapter import changes_of, merged
from harness.variants.answering import reinforced, trained_parameters
from harness.variants.asking import Asking, AskingRouter
from harness.variants.context import Context, provenance
from harness.variants.experts import expert_folder, read_z
from harness.variants.few_shot import PER, FewShotRouter, parameters_of, settings_of
from harness.variants.injected import injected, tuner

Build = Callable[[Base, VariantSpec, Context], Patch]


def build_asking(base: Base, config: PromptVariant, context: Context, build_one: Build) -> Patch:
    """Builds each expert, and the classifier if there is one.

    Raises:
        ValueError: if an expert cannot be built, or prompt and categories do not go together.
    """
    asking = _asking(config, context)
    experts = {category: _waiting(build_one(base, spec, context)) for category, spec in config.experts.items()}
    asked, own = Patch(), 0
    if isinstance(config, ClassifierVariant):
        folder = _classifier(base, config, asking, context)
        asked, own = Patch(merged(base, folder)), parameters_of(folder)
    router = AskingRouter(base, asking, experts, asked)
    made = provenance(base, config, _changes(experts))
    trained = own + sum(p.provenance.trained for p in experts.values())
    return Patch(provenance=replace(made, trained=trained), router=router)


def build_few_shot(base: Base, config: FewShotVariant, context: Context) -> Patch:
    """Trains what is mixed; a mixture is searched when a task is asked.

    Raises:
        ValueError: if an expert cannot be built, or settings cannot work.
    """
    if config.per not in PER:
        raise ValueError(f"per {config.per!r}: expected {', '.join(PER)}")
    if config.shots < 1 or (config.held_back < 1 and not config.leaky):
        raise ValueError(f"shots {config.shots} and held_back {config.held_back}: give at least 1 of each")
    settings_of(config)
    if len(config.experts) + config.base < 2:
        raise ValueError("few_shot: fewer than two to mix; e.g. variant.experts=[svf_math,svf_code]")
    folders: dict[str, Path] = {}
    for spec in config.experts:
        if spec.label in (*folders, "base"):
            raise ValueError(f"few_shot: two are called {spec.label}")
        folders[spec.label] = expert_folder(base, spec, context)
    names = dict.fromkeys(f"{module}.weight" for folder in folders.values() for module in read_z(base, folder)[1])
    made = provenance(base, config, changes_of(base, names, "mixture"))
    trained = sum(parameters_of(folder) for folder in folders.values())
    return Patch(provenance=replace(made, trained=trained), router=FewShotRouter(base, config, context, folders))


def _asking(config: PromptVariant, context: Context) -> Asking:
    if not config.experts:
        raise ValueError(f"{config.method}: no experts; e.g. variant.experts={{math: svf_math, code: svf_code}}")
    if config.ask.max_tokens < 1:
        raise ValueError(f"{config.method}: ask.max_tokens {config.ask.max_tokens}: an answer needs at least one")
    if config.others in config.experts:
        raise ValueError(f"{config.method}: {config.others!r} is the category of the base, so it has no expert")
    return Asking(config.ask, (*config.experts, config.others), config.others, context.chat)


def _waiting(patch: Patch) -> Patch:
    """Held on the CPU: one expert at a time is on the device.

    Raises:
        ValueError: for an expert that adapts itself.
    """
    patch.check_static()
    return replace(patch, tensors={name: tensor.cpu() for name, tensor in patch.tensors.items()})


def _changes(experts: dict[str, Patch]) -> list[Change]:
    """What any expert touches, each tensor once."""
    out: dict[str, Change] = {}
    for patch in experts.values():
        for change in patch.provenance.changes:
            out.setdefault(change.name, replace(change, source="experts"))
    return list(out.values())


@dataclass(frozen=True)
class _KindQuestion:
    """What kind a question is, as a question."""

    prompt: str
    name: str
    settings: dict[str, object]
    target: str
    _asking: Asking
    _category: str
    images: tuple[object, ...] = ()

    @property
    def digest(self) -> str:
        return self._category

    def grade(self, text: str) -> float:
        return 1.0 if self._asking.read(text) == self._category else -1.0


def _classifier(base: Base, config: ClassifierVariant, asking: Asking, context: Context) -> Path:
    """The folder of the expert that classifies."""
    if context.asked is None:
        raise ValueError("classifier: no tasks to learn from here")
    unknown = sorted(set(config.tasks) - set(asking.categories))
    missing = sorted(set(config.experts) - set(config.tasks))
    if unknown or missing:
        raise ValueError(
            f"classifier: tasks for {', '.join(unknown) or 'none'} that are no category, and none for "
            f"{', '.join(missing) or 'none'}; categories: {', '.join(asking.categories)}"
        )
    questions: list[_KindQuestion] = []
    for category, tasks in config.tasks.items():
        for task in tasks:
            for number, text in enumerate(context.asked(task, max(1, config.questions // len(tasks)))):
                name, answer = f"{task}/train/{number}", config.ask.labels[category]
                questions.append(_KindQuestion(asking.prompt(text), name, asking.settings(), answer, asking, category))
    settings = tuner(base, config)
    key = {
        **tuned.known_by(base),
        "config": {**asdict(config), "experts": None},
        "questions": [(q.prompt, q.digest) for q in questions],
    }
    return context.folder_once("classifier", key, partial(_train, base, config, settings, questions))


def _train(
    base: Base, config: ClassifierVariant, settings: object, questions: Sequence[_KindQuestion], folder: Path
) -> None:
    with injected(base, settings, config.train.seed) as adapted:
        count = sum(p.numel() for p in trained_parameters(base.model).values())
        train = replace(config.train, max_tokens=config.ask.max_tokens)
        done = reinforced(base, adapted, questions, config.held_back, train)
        tuned.keep(adapted, folder, {"parameters": count, "seed": config.train.seed, **tuned.figures(done)})
