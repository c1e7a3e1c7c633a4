"""What a method may ask for while it builds a patch."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock
from transformers import PreTrainedModel

from harness.data import DataSource
from harness.models import Base, fingerprint
from harness.patch import Change, Patch, Provenance

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Donor:
    """Another model that a method takes tensors from."""

    name: str
    model: PreTrainedModel
    fingerprint: str


class GradedQuestion(Protocol):
    """A training document of a task, as methods need it."""

    @property
    def prompt(self) -> str:
        """As the task asks it."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Generation settings."""

    @property
    def name(self) -> str:
        """What names it."""

    @property
    def digest(self) -> str:
        """What its grades depend on."""

    @property
    def images(self) -> Sequence[Any]:
        """The images that it is about, each an ``<image>`` in the prompt."""

    @property
    def target(self) -> str:
        """The answer that the task gives, as text behind the prompt."""

    def grade(self, text: str) -> float:
        """1 for a right answer, -1 for a wrong one."""


def stops_of(settings: Mapping[str, Any]) -> list[str]:
    """The texts that end an answer, from generation settings."""
    until = settings.get("until", [])
    return [until] if isinstance(until, str) else [stop for stop in until if stop]


class NotMadeError(Exception):
    """What a plan would have to train first: plans train nothing."""


@dataclass(frozen=True)
class Context:
    """Access to donors, data, and patches that were trained before.

    Attributes:
        load: loads a model by name, folder or hub id, with the base's dtype, on the CPU.
        data: where training texts are read from.
        patches: folder in which trained patches are kept; None keeps none.
        questions: (task, its settings, limit) -> its training documents as graded questions.
        asked: (task, limit) -> what its training documents ask, as texts without shots.
        chat: renders a chat as a prompt, where the run asks for that.
        base: loads another base by name, folder or hub id.
        dry: nothing is trained; what was not trained before raises `NotMadeError`.
    """

    load: Callable[[str], PreTrainedModel]
    data: DataSource = field(default_factory=DataSource)
    patches: Path | None = None
    questions: Callable[[str, Mapping[str, Any], int | None], Sequence[GradedQuestion]] | None = None
    asked: Callable[[str, int | None], Sequence[str]] | None = None
    chat: Callable[[list[dict[str, str]]], str] | None = None
    base: Callable[[str], Base] | None = None
    dry: bool = False

    def once(self, name: str, key: Mapping[str, Any], make: Callable[[], Patch]) -> Patch:
        """A patch that takes long to make: taken from the folder if it was made before, else made and kept.

        Other processes that want the same patch wait for the one that makes it.

        Args:
            name: the method.
            key: everything that the patch depends on.
            make: makes it.
        """
        if self.patches is None:
            if self.dry:
                raise NotMadeError(f"{name} is not trained yet; a run trains it")
            return make()
        with self._kept(self.patches, name, key) as folder:
            if folder.is_dir():
                return Patch.load(folder)
            patch = make()
            patch.save(folder)
        return patch

    def folder_once(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """A folder of files that takes long to make, as in `once`; it appears whole or not at all.

        Raises:
            ValueError: if there is no folder to keep it in.
        """
        if self.patches is None:
            raise ValueError(f"{name}: no folder to keep what is trained in")
        with self._kept(self.patches, name, key) as folder:
            if not folder.is_dir():
                for left in self.patches.glob(f".{folder.name}-*"):  # by a process that was killed
                    shutil.rmtree(left)
                with tempfile.TemporaryDirectory(dir=self.patches, prefix=f".{folder.name}-") as work:
                    make(Path(work) / "whole")
                    (Path(work) / "whole").rename(folder)
        return folder

    @contextmanager
    def _kept(self, patches: Path, name: str, key: Mapping[str, Any]) -> Iterator[Path]:
        """Where something of a key is kept; others that want the same wait."""
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
        folder = patches / f"{name}-{digest[:20]}"
        if self.dry and not folder.is_dir():
            raise NotMadeError(f"{name} is not trained yet; a run trains it and keeps it in {folder}")
        patches.mkdir(parents=True, exist_ok=True)
        with FileLock(patches / f".{folder.name}.lock"):
            if folder.is_dir():
                logger.info("%s: made before, read from %s", name, folder)
            yield folder

    def donor(self, base: Base, name: str | None) -> Donor:
        """Loads a donor and checks that it has the base's architecture.

        Raises:
            ValueError: if no donor is named, or it is of another architecture.
        """
        if not name:
            raise ValueError(
                f"no donor: the config of model {base.name} names none; set variant.donor=NAME|PATH|HUB_ID"
            )
        model = self.load(name)
        ours, theirs = base.model.config.model_type, model.config.model_type
        if ours != theirs:
            raise ValueError(f"donor {name} is a {theirs} model, the base {base.name} a {ours} model")
        return Donor(name, model, fingerprint(model))


def provenance(
    base: Base,
    config: DataclassInstance,
    changes: list[Change],
    donors: tuple[Donor, ...] = (),
    seeds: dict[str, int] | None = None,
) -> Provenance:
    """What made a patch, computed from what was done."""
    return Provenance(
        method=config.method,  # type: ignore[attr-defined] # every variant's schema has it
        config=asdict(config),
        base=base.fingerprint,
        donors={d.name: d.fingerprint for d in donors},
        seeds=seeds or {},
        versions={name: version(name) for name in ("torch", "transformers", "variant-harness")},
        changes=tuple(changes),
    )
