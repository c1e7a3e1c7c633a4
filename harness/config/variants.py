"""What may stand in ``conf/variant/``: one dataclass a method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from harness.config.circuits import CircuitConfig
from harness.config.par import LoraParVariant
from harness.config.training import SFTConfig, TextsConfig
from harness.config.tuning import (
    ClassifierVariant,
    FewShotVariant,
    Ia3Variant,
    LoraVariant,
    PromptVariant,
    SvfVariant,
    TransferVariant,
)


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
class NoiseVariant:
    """The base, asked once more in other batches: what differs from the base's own row is noise.

    Attributes:
        batch_size: as `RuntimeConfig`'s, for this row.
        batch_tokens: as `RuntimeConfig`'s, for this row.
        seed: of sampling, for this row; null keeps the run's. Shots stay the run's in any case: other shots ask
            another question.
    """

    method: str = "noise"
    batch_size: int = 1
    batch_tokens: int = 1024
    seed: int | None = None


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


@dataclass
class CircuitVariant:
    """The heads of a circuit, all others ablated (Andersen et al. 2025; Wang et al. 2023).

    Attributes:
        path: folder that ``python -m harness.circuits.discover`` wrote; null finds the circuit first.
        heads: heads in place of a circuit, such as ``"9.6 9.9 10.0"``; ``fill`` has to be ``zero``.
        task: circuit task that it is found on.
        fill: what the other heads put out: ``mean`` (over the corrupt prompts, at all positions) or ``zero``.
        any_model: use a circuit, and its means, that was found in a model with other weights.
        find: how it is found.
    """

    method: str = "circuit"
    path: str | None = None
    heads: str | None = None
    task: str = "ioi"
    fill: str = "mean"
    any_model: bool = False
    find: CircuitConfig = field(default_factory=CircuitConfig)


DESTROY_MODES = ("zero", "reinit", "remove")
VARIANTS: dict[str, type] = {
    "base": BaseVariant,
    "noise": NoiseVariant,
    "merge": MergeVariant,
    "destroy": DestroyVariant,
    "checkpoint": CheckpointVariant,
    "composed": ComposedVariant,
    "freeze": FreezeVariant,
    "adapter": AdapterVariant,
    "svf": SvfVariant,
    "lora": LoraVariant,
    "ia3": Ia3Variant,
    "transfer": TransferVariant,
    "prompt": PromptVariant,
    "classifier": ClassifierVariant,
    "few_shot": FewShotVariant,
    "lora_par": LoraParVariant,
    "circuit": CircuitVariant,
}
