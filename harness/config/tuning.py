"""Variants that train an adapter, and those that choose among trained ones while they are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.config.training import RLConfig, SFTConfig, TextsConfig


@dataclass
class TunedVariant:
    """An adapter trained on a task.

    Attributes:
        parts: parts or groups of parts whose weights are adapted.
        layers: as in merge.
        objective: ``reinforce`` on the task's own grades, or ``next_token`` on texts.
        task: task on whose training documents it is trained.
        task_settings: settings of that task.
        questions: training documents of each subtask, from the first; null for all.
        held_back: how many of them are held back, at random, to choose the best step; ``reinforce`` only.
        train: how to reinforce.
        texts: what ``next_token`` learns; null for the task's training documents with their answers.
        sft: how to learn them.
    """

    method: str = ""
    parts: list[str] = field(default_factory=lambda: ["mlp"])
    layers: Any = None
    objective: str = "reinforce"
    task: str | None = None
    task_settings: dict[str, Any] = field(default_factory=dict)
    questions: int | None = None
    held_back: int = 128
    train: RLConfig = field(default_factory=RLConfig)
    texts: TextsConfig | None = None
    sft: SFTConfig = field(default_factory=SFTConfig)


@dataclass
class SvfVariant(TunedVariant):
    """Singular values scaled by trained vectors z (Transformer-Squared, section 3).

    Attributes:
        form: ``plain`` multiplies by z; ``conserving`` is that of the released code (`harness.svf.SvfConfig`).
        init: z (or, in the conserving form, p) at the start.
        init_std: standard deviation of a normal draw around it, with the seed of the training.
    """

    method: str = "svf"
    form: str = "plain"
    init: float = 1.0
    init_std: float = 0.0


@dataclass
class LoraVariant(TunedVariant):
    """Low-rank changes of weights, by PEFT; the defaults are those of Transformer-Squared's baseline (table 6).

    Attributes:
        rank: rank of a change.
        alpha: a change is scaled by alpha / rank.
        dropout: share of a layer's inputs that is dropped while texts are learned; answers are reinforced without.
        dora: magnitudes of the columns trained beside (DoRA).
    """

    method: str = "lora"
    parts: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    dora: bool = False


@dataclass
class Ia3Variant(TunedVariant):
    """Rows of weights scaled (IA3), by PEFT: outputs of attention's parts, inputs of the feed-forward's."""

    method: str = "ia3"
    parts: list[str] = field(default_factory=lambda: ["k_proj", "v_proj", "down_proj"])


@dataclass
class TransferVariant:
    """The z that was trained on another model of equal shape (Transformer-Squared, table 5).

    Attributes:
        source: name, path or hub id of that model.
        expert: the ``svf`` variant that is trained there.
        order: ``ordered`` gives the i-th singular value the i-th number of z; ``shuffled`` one drawn at random.
        seed: of the shuffle.
    """

    method: str = "transfer"
    source: str | None = None
    expert: str = "svf"
    order: str = "ordered"
    seed: int = 0


@dataclass
class AskConfig:
    """How a model is asked what kind a question is.

    Attributes:
        prompt: text with ``{question}`` in it.
        labels: category -> what the model answers for it; a category without an expert is the base.
        pattern: regular expression whose first group finds the answer in the model's text; its last match counts.
        until: texts that end an answer.
        max_tokens: tokens of an answer.
    """

    prompt: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    pattern: str = r"\\boxed\{([^{}]*)\}"
    until: list[str] = field(default_factory=list)
    max_tokens: int = 256


@dataclass
class PromptVariant:
    """Experts chosen for each question by the model itself, asked by a prompt (Transformer-Squared, section 3.2, A).

    Attributes:
        experts: category -> the variant that answers it.
        others: category that the base answers, as whatever cannot be read.
        ask: how.
    """

    method: str = "prompt"
    experts: dict[str, Any] = field(default_factory=dict)
    others: str = "others"
    ask: AskConfig = field(default_factory=AskConfig)


@dataclass
class ClassifierVariant(PromptVariant):
    """The same, asked of an expert that was trained to answer it (B).

    Attributes:
        tasks: category -> tasks whose training documents teach it.
        questions: of each category.
        held_back: as in the tuned variants.
        parts: as in the tuned variants.
        layers: as in the tuned variants.
        form: as in svf.
        init: as in svf.
        init_std: as in svf.
        train: how to reinforce.
    """

    method: str = "classifier"
    tasks: dict[str, list[str]] = field(default_factory=dict)
    questions: int = 256
    held_back: int = 128
    parts: list[str] = field(default_factory=lambda: ["mlp"])
    layers: Any = None
    form: str = "plain"
    init: float = 1.0
    init_std: float = 0.0
    train: RLConfig = field(default_factory=RLConfig)


@dataclass
class FewShotVariant:
    """A mixture of experts' z for each task, found by the cross-entropy method on a few of its documents (C).

    Attributes:
        experts: names of the variants that are mixed.
        base: the base is one of them.
        per: ``task`` mixes all weights alike, ``layer`` each layer, ``weight`` each weight.
        shots: documents that a mixture is scored on.
        held_back: further documents, on which the iterate is chosen.
        population: mixtures of an iteration.
        elite: share of them that the next iteration is drawn around.
        iterations: iterations.
        std: of the first draw.
        seed: of the draws and of the choice of documents.
        shots_from: task -> task whose training documents stand in for its own.
        leaky: take the documents from the test split and choose the iterate on all others of it, as the released code
            does; its scores are not comparable.
    """

    method: str = "few_shot"
    experts: list[Any] = field(default_factory=list)
    base: bool = False
    per: str = "task"
    shots: int = 10
    held_back: int = 32
    population: int = 32
    elite: float = 0.2
    iterations: int = 20
    std: float = 0.5
    seed: int = 0
    shots_from: dict[str, str] = field(default_factory=dict)
    leaky: bool = False
