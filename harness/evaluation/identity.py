"""A cell that is ready to run, and everything that its outcomes depend on."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

from harness.config.schema import RuntimeConfig
from harness.config.variants import NoiseVariant
from harness.data import rows_digest
from harness.engine import depends_on_batch, engine_of
from harness.evaluation.cells import CellName, identity_digest
from harness.models import Base, processor_digest, tokenizer_digest
from harness.patch import Patch, Stage
from harness.tasks.load import LoadedTask

# Of a task's config, what no outcome depends on.
NOT_ASKED = ("about", "quick", "training_split")
_LIBRARIES = ("variant-harness", "lm-eval", "torch", "transformers", "datasets", "math-verify")


@dataclass(frozen=True)
class Cell:
    """A cell that is ready to run.

    Attributes:
        name: its name.
        base: the resident model.
        patch: the variant.
        task: the loaded task.
        limit: documents a subtask; None for all.
        seed: seed of shots and sampling.
        runtime: how to run it.
        engine: the backend that was asked for.
        sandbox: kind and limits of the sandbox that runs its programs, or None.
        command: the command that asked for it, to be shown beside the result.
        position: its place in the grid, which orders the tables.
        session: which session runs it.
        load: loads another task by name, for variants that look at its documents.
        stage: what a router may use of the cell.
        noise: the cell asks the base again, in other batches or with another seed of sampling; None for all others.
    """

    name: CellName
    base: Base
    patch: Patch
    task: LoadedTask
    limit: int | None
    seed: int
    runtime: RuntimeConfig
    engine: str = "tree"
    sandbox: dict[str, Any] | None = None
    command: str = ""
    position: int = 0
    session: str = ""
    load: Callable[[str], LoadedTask] | None = None
    stage: Callable[[Cell], Stage] | None = None
    noise: NoiseVariant | None = None

    @property
    def sampling_seed(self) -> int:
        """Seed of sampled texts: the run's, unless noise has one of its own."""
        return self.seed if self.noise is None or self.noise.seed is None else self.noise.seed

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that the outcomes depend on."""
        tasks = self.task.subtasks
        with self.patch.applied(self.base.model) as model:
            backend = engine_of(model, self.engine, self.runtime.attn_implementation)
            by_batch = any(depends_on_batch(model, backend, _generation(task)) for task in tasks.values())
        routed = {}
        if self.patch.router is not None:
            assert self.stage is not None, "a routed variant needs a stage"
            routed = {"routing": self.patch.router.identity_on(self.stage(self))}
        return {
            "model": self.base.fingerprint,
            "patch": self.patch.digest,
            "task": self.task.name,
            "task_config": {k: v for k, v in asdict(self.task.config).items() if k not in NOT_ASKED},
            "task_yaml": {
                name: _stable_digest(task.config.to_dict(keep_callable=True)) for name, task in tasks.items()
            },
            "task_versions": {name: str(task.VERSION) for name, task in tasks.items()},
            "shots": {name: task.config.num_fewshot for name, task in tasks.items()},
            "data": rows_digest(_shown(task, self.limit) for task in tasks.values()),
            "shots_data": rows_digest(_shots(task) for task in tasks.values()),
            "tokenizer": tokenizer_digest(self.base.tokenizer),
            "limit": self.limit,
            "seed": self.seed,
            "max_length": self.runtime.max_length,
            # Texts that lm-eval's backend samples depend on which rows share a batch; others do not.
            "batch_size": self.runtime.batch_size if by_batch else None,
            "deadline": self.runtime.deadline,
            "chat_template": self.runtime.chat_template,
            "dtype": str(self.base.model.dtype),
            "attn_implementation": self.runtime.attn_implementation,
            "backend": backend,
            "sandbox": self.sandbox if self.task.config.scorer == "code" else None,
            "versions": {name: version(name) for name in _LIBRARIES},
            **routed,
            **({"noise": asdict(self.noise)} if self.noise is not None else {}),
            **({"processor": processor_digest(self.base.processor)} if self.base.processor is not None else {}),
        }

    @property
    def by_batch(self) -> bool:
        """Its texts depend on which of them share a batch, so it cannot be divided."""
        return self.identity["batch_size"] is not None

    @cached_property
    def digest(self) -> str:
        """Digest of the identity."""
        return identity_digest(self.identity)


def _shots(task: Any) -> list[Any]:
    """The documents that shots are drawn from, where there are shots."""
    return list(task.fewshot_docs() or []) if task.config.num_fewshot else []


def _stable_digest(value: Any) -> str:
    """SHA-256 of nested settings; functions count by their source, not by their address."""

    def plain(item: Any) -> str:
        if callable(item):
            with suppress(OSError, TypeError):
                return inspect.getsource(item)
            return getattr(item, "__qualname__", type(item).__qualname__)
        return str(item)

    return hashlib.sha256(json.dumps(value, sort_keys=True, default=plain).encode()).hexdigest()


def _generation(task: Any) -> dict[str, Any] | None:
    """Generation settings of a task that generates."""
    return (task.config.generation_kwargs or {}) if task.OUTPUT_TYPE == "generate_until" else None


def _shown(task: Any, limit: int | None) -> list[Any]:
    docs = task.eval_docs
    return [docs[i] for i in range(len(docs) if limit is None else min(limit, len(docs)))]
