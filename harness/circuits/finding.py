"""A circuit of one task in one model, from prompts to the verified record."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from harness.circuits.artifact import CircuitFile, read_heads
from harness.circuits.compare import agreement, areas
from harness.circuits.effects import Effects, NoEffectError
from harness.circuits.methods import Discovered, Methods, edge_rows
from harness.circuits.nodes import Head
from harness.circuits.references import REFERENCES
from harness.circuits.stack import Stack
from harness.circuits.tasks import TASKS, TaskSets, draw_sets
from harness.circuits.tasks.files import file_sets
from harness.circuits.verify import Verified, verify
from harness.config.circuits import CircuitConfig, PromptsConfig
from harness.config.paths import LAB_WEIGHTS
from harness.models import Base, tokenizer_digest


@dataclass(frozen=True)
class Reference:
    """A circuit that found ones are compared with."""

    source: str
    heads: frozenset[Head]


@dataclass(frozen=True)
class Finding:
    """A circuit that was found and verified.

    Attributes:
        found: the circuit, and how it was found.
        verified: on other prompts.
        cpr: area under faithfulness over size, of the method's ranking.
        cmd: area between faithfulness and 1.
        agreement: with the reference circuit, where there is one.
    """

    found: Discovered
    verified: Verified
    cpr: float
    cmd: float
    agreement: dict[str, float | None] | None


class Finder:
    """Finds and verifies circuits of one task in one model.

    Args:
        base: the model.
        task: a circuit task, or any name for prompts from a file.
        config: settings.
        folder: where a search that was killed finds what it had; None for nowhere.
        reference: a circuit to compare with.

    Raises:
        ValueError: for a task, model or settings that do not fit.
        NoEffectError: if the model does not do the task.
    """

    def __init__(
        self,
        base: Base,
        task: str,
        config: CircuitConfig,
        folder: Path | None = None,
        reference: Reference | None = None,
    ) -> None:
        self.base, self.config, self.reference = base, config, reference
        self.sets = prompt_sets(base, task, config.prompts)
        self.methods = Methods(Stack(base.model), self.sets, config, base.fingerprint, folder)
        check_does(self.methods)
        self._verify_on = self.methods.ablated("verify")

    def find(self, method: str, controls: bool = True) -> Finding:
        """One method's circuit, verified.

        Args:
            method: how it is found.
            controls: look at minimality and completeness too.
        """
        found = self.methods.run(method)
        return self.judge(found, controls)

    def judge(self, found: Discovered, controls: bool = True) -> Finding:
        """A found circuit, verified."""
        metric, config = self.methods.metric, self.config
        verified = verify(self._verify_on, found.heads, metric, config.nulls, config.subsets, config.seed, controls)
        cpr, cmd = areas(self._verify_on, found.order, metric)
        beside = agreement(found.heads, self.reference.heads) if self.reference is not None else None
        return Finding(found, verified, cpr, cmd, beside)

    @staticmethod
    def beside(finding: Finding, other: Finding) -> Finding:
        """The finding compared with another one's circuit."""
        return replace(finding, agreement=agreement(finding.found.heads, other.found.heads))

    def file(self, finding: Finding) -> CircuitFile:
        """The circuit with its whole record."""
        found, methods = finding.found, self.methods
        record: dict[str, Any] = {
            "task": self.sets.task,
            "model": {"name": self.base.name, "path": self.base.ref.path, "dtype": str(self.base.model.dtype)[6:]},
            "method": found.method,
            "metric": methods.metric,
            "ablation": self.config.ablation,
            "prompts": self.sets.record(),
            "config": asdict(self.config),
            "found": dict(found.details),
            "edges": edge_rows(found.edges),
            "order": [str(head) for head in found.order],
            "cost": found.cost.record(),
            "verified": finding.verified.record(),
            "cpr": finding.cpr,
            "cmd": finding.cmd,
            "reference": (
                {"source": self.reference.source, **(finding.agreement or {})} if self.reference is not None else None
            ),
            "seed": self.config.seed,
            "versions": {p: version(p) for p in ("variant-harness", "torch", "transformers")},
        }
        stack = methods.stack
        record["group"] = stack.n_heads // stack.n_kv
        whole = methods.means.whole if methods.means is not None else None
        return CircuitFile(
            tuple(sorted(found.heads)), (stack.n_layers, stack.n_heads), self.base.fingerprint, record, whole
        )


def check_does(methods: Methods) -> None:
    """Raises a NoEffectError if the model does not tell clean prompts from corrupt ones, beyond noise."""
    methods.check()
    effects = Effects(methods.stack, methods.sets.find, methods.metric, methods.config.batch_tokens)
    change = effects.clean_N - effects.corrupt_N
    mean, se = float(change.mean()), float(change.std()) / math.sqrt(len(change))
    if abs(mean) <= 1.96 * se:
        raise NoEffectError(
            f"{methods.metric} is {float(effects.clean_N.mean()):.3f} on the clean prompts and "
            f"{float(effects.corrupt_N.mean()):.3f} on the corrupt ones, a difference of {mean:.3f} +- {1.96 * se:.3f} "
            f"(n={len(change)}): this model does not do the task, so there is no effect to trace"
        )


def prompt_sets(base: Base, task: str, config: PromptsConfig) -> TaskSets:
    """The prompts of a task for a model.

    Raises:
        ValueError: if the task is unknown and no file is given, or its words do not fit the tokenizer.
    """
    longest = getattr(base.model.config, "max_position_embeddings", None)
    sizes = {"find": config.find, "verify": config.verify, "means": config.means}
    if config.file is not None:
        given = file_sets(Path(config.file), base.tokenizer, **sizes, seed=config.seed, max_length=longest)
        return replace(given, task=task)
    if task not in TASKS:
        raise ValueError(f"unknown circuit task {task!r}; known: {', '.join(TASKS)}, or give prompts.file=FILE")
    words = config.words
    if words == "auto":
        words = "lab" if tokenizer_digest(base.tokenizer) == _lab_tokenizer() else "literature"
    return draw_sets(task, base.tokenizer, words, config.corruption, **sizes, seed=config.seed, max_length=longest)


def find_reference(name: str | None, task: str, shape: tuple[int, int]) -> Reference | None:
    """A circuit to compare with: a name of the library, or a file.

    Args:
        name: its name or file; None for none.
        task: the task that is looked at.
        shape: layers and heads of the model, which the reference has to fit.

    Raises:
        ValueError: for one that is unknown, of another task or another model.
    """
    if name is None:
        return None
    if name in REFERENCES:
        known = REFERENCES[name]
        if known.task != task:
            raise ValueError(f"reference {name} is a circuit of {known.task}, the task is {task}")
        out = Reference(f"{known.source} ({known.model})", known.heads)
    elif Path(name).exists():
        source, heads = read_heads(Path(name))
        out = Reference(source, frozenset(heads))
    else:
        raise ValueError(f"reference {name!r} is no file and none of {', '.join(REFERENCES)}")
    if strange := sorted(h for h in out.heads if h.layer >= shape[0] or h.head >= shape[1]):
        raise ValueError(f"reference {name}: head {strange[0]}, the model has {shape[0]} layers of {shape[1]} heads")
    return out


@cache
def _lab_tokenizer() -> str:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(LAB_WEIGHTS / "lab-base")
    return tokenizer_digest(tokenizer)
