"""What may stand in ``conf/variant/``: one dataclass a method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class Rule:
    """What a merge takes from the donor: ``factor`` 1 replaces, less interpolates."""

    parts: list[str] = MISSING
    layers: Any = None
    bias: bool = True
    factor: float = 1.0


@dataclass
class BaseVariant:
    """The base itself."""

    method: str = "base"


@dataclass
class MergeVariant:
    """Parts of a donor in the base (Stethoscope for Networks, section 2.2).

    Attributes:
        donor: name, path or hub id.
        parts: parts or groups of parts; ``-x`` takes x away again.
        layers: half-open range(s) in quotes, e.g. "0:2"; null for all.
        bias: take biases too.
        factor: 0 is the base, 1 the donor.
        rules: a list of such rules in place of the four keys above.
        untie: give head and embedding tensors of their own first.
    """

    method: str = "merge"
    donor: str | None = None
    parts: list[str] = field(default_factory=list)
    layers: Any = None
    bias: bool = True
    factor: float = 1.0
    rules: list[Rule] = field(default_factory=list)
    untie: bool = False


@dataclass
class DestroyVariant:
    """Parts zeroed, drawn anew or layers removed (Stethoscope for Networks, section 3).

    Attributes:
        mode: ``zero``, ``reinit`` (N(0, std)) or ``remove`` (whole layers).
        parts: as in merge; empty for ``remove``.
        layers: as in merge.
        bias: destroy biases too.
        std: standard deviation of ``reinit``.
        seed: seed of ``reinit``.
    """

    method: str = "destroy"
    mode: str = "zero"
    parts: list[str] = field(default_factory=list)
    layers: Any = None
    bias: bool = True
    std: float = 0.02
    seed: int = 0


@dataclass
class TextsConfig:
    """Texts to train on: a prompt, which is read, and a completion, which is learned.

    Attributes:
        path: data set, as in a task: the hub's path, a folder of the mirror, or ``harness/lab``.
        name: its configuration.
        split: its split.
        prompt: column of the prompt, or a template with columns in braces.
        completion: column of the completion, or a template; null if ``divider`` cuts the prompt's text.
        divider: the completion is what follows this text's last place in the prompt column.
        limit: rows, from the first; null for all.
    """

    path: str = MISSING
    name: str | None = None
    split: str = "train"
    prompt: str = "prompt"
    completion: str | None = "completion"
    divider: str | None = None
    limit: int | None = None


@dataclass
class SFTConfig:
    """Supervised fine-tuning; the defaults are those of Stethoscope for Networks, appendix A.

    Attributes:
        learning_rate: peak of the cosine schedule.
        weight_decay: of AdamW.
        betas: the two of AdamW.
        batch_size: rows that a step learns from.
        device_batch_size: rows that the device holds at a time; null for all of ``batch_size``.
        epochs: passes over the rows.
        max_steps: ends earlier; null for no such end.
        warmup_ratio: share of the steps with a rising learning rate.
        max_length: tokens of a row; what a longer one has beyond is cut off, and counted.
        gradient_checkpointing: recompute activations instead of holding them.
        seed: order of the rows.
    """

    learning_rate: float = 1e-5
    weight_decay: float = 1e-4
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    batch_size: int = 16
    device_batch_size: int | None = None
    epochs: float = 5.0
    max_steps: int | None = None
    warmup_ratio: float = 0.05
    max_length: int = 32768
    gradient_checkpointing: bool = True
    seed: int = 0


@dataclass
class RLConfig:
    """REINFORCE with a penalty on the distance to the base; the defaults are those of Transformer-Squared's paper.

    Attributes:
        learning_rate: of Adam; the peak of the schedule.
        schedule: ``cosine`` to 0, or ``constant`` (the released code).
        clip: largest norm of the gradient.
        batch_size: prompts that a step learns from.
        device_batch_size: prompts that the device holds at a time; null for all of ``batch_size``.
        steps: steps.
        kl: weight of the penalty.
        kl_direction: ``new_base`` is KL(new || base), as the paper writes; ``base_new`` is KL(base || new), as its
            released code computes.
        temperature: of the answers that are learned from; 0 takes the likeliest tokens (the released code).
        max_tokens: tokens of an answer.
        evaluate_every: steps between looks at the validation questions.
        patience: looks without a better score after which training ends; null for none.
        seed: order of the questions, and the answers.
    """

    learning_rate: float = 2e-3
    schedule: str = "cosine"
    clip: float = 1e-3
    batch_size: int = 256
    device_batch_size: int | None = None
    steps: int = 200
    kl: float = 0.1
    kl_direction: str = "new_base"
    temperature: float = 1.0
    max_tokens: int = 256
    evaluate_every: int = 10
    patience: int | None = None
    seed: int = 42


@dataclass
class FreezeVariant:
    """Fine-tuning of chosen parts, the rest frozen (Stethoscope for Networks, section 2.3).

    Attributes:
        parts: parts or groups of parts that are trained.
        layers: as in merge; holds for parts inside the layers only.
        norms: train norms as well, as the paper always does.
        matched_parts: also train as many tensors of these parts, spread evenly over the layers, as come
            closest to the number of parameters of ``matched_to``: a control of equal size.
        matched_to: parts whose number of parameters is matched.
        data: what to learn.
        train: how.
    """

    method: str = "freeze"
    parts: list[str] = field(default_factory=list)
    layers: Any = None
    norms: bool = True
    matched_parts: list[str] = field(default_factory=list)
    matched_to: list[str] = field(default_factory=list)
    data: TextsConfig = field(default_factory=TextsConfig)
    train: SFTConfig = field(default_factory=SFTConfig)


@dataclass
class CheckpointVariant:
    """Another checkpoint of the same architecture: every tensor replaced."""

    method: str = "checkpoint"
    source: str | None = None
    untie: bool = False


@dataclass
class SvfVariant:
    """Singular values scaled by trained vectors z (Transformer-Squared, section 3).

    Attributes:
        parts: parts or groups of parts whose weights are adapted.
        layers: as in merge.
        form: ``plain`` multiplies by z; ``conserving`` is that of the released code (`harness.svf.SvfConfig`).
        init: z (or, in the conserving form, p) at the start.
        init_std: standard deviation of a normal draw around it, with the seed of ``train``.
        task: task on whose training documents z is trained, by the task's own grader.
        task_settings: settings of that task.
        questions: training documents, from the first; null for all.
        held_back: how many of them are held back, at random, to choose the best step.
        train: how.
    """

    method: str = "svf"
    parts: list[str] = field(default_factory=lambda: ["mlp"])
    layers: Any = None
    form: str = "plain"
    init: float = 1.0
    init_std: float = 0.0
    task: str | None = None
    task_settings: dict[str, Any] = field(default_factory=dict)
    questions: int | None = None
    held_back: int = 128
    train: RLConfig = field(default_factory=RLConfig)


@dataclass
class AdapterVariant:
    """A trained adapter of PEFT, merged.

    Attributes:
        path: folder that ``save_pretrained`` wrote, or hub id.
        revision: hub revision.
    """

    method: str = "adapter"
    path: str | None = None
    revision: str | None = None


@dataclass
class ComposedVariant:
    """Variants in sequence; each is built on the model that the ones before it made."""

    method: str = "composed"
    steps: list[Any] = field(default_factory=list)


DESTROY_MODES = ("zero", "reinit", "remove")
VARIANTS: dict[str, type] = {
    "base": BaseVariant,
    "merge": MergeVariant,
    "destroy": DestroyVariant,
    "checkpoint": CheckpointVariant,
    "composed": ComposedVariant,
    "freeze": FreezeVariant,
    "adapter": AdapterVariant,
    "svf": SvfVariant,
}
