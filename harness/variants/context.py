"""What a method may ask for while it builds a patch."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True)
class Context:
    """Access to donors, data, and patches that were trained before.

    Attributes:
        load: loads a model by name, folder or hub id, with the base's dtype, on the CPU.
        data: where training texts are read from.
        patches: folder in which trained patches are kept; None keeps none.
    """

    load: Callable[[str], PreTrainedModel]
    data: DataSource = field(default_factory=DataSource)
    patches: Path | None = None

    def once(self, name: str, key: Mapping[str, Any], make: Callable[[], Patch]) -> Patch:
        """A patch that takes long to make: taken from the folder if it was made before, else made and kept.

        Other processes that want the same patch wait for the one that makes it.

        Args:
            name: the method.
            key: everything that the patch depends on.
            make: makes it.
        """
        if self.patches is None:
            return make()
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
        folder = self.patches / f"{name}-{digest[:20]}"
        self.patches.mkdir(parents=True, exist_ok=True)
        with FileLock(self.patches / f".{folder.name}.lock"):
            if folder.is_dir():
                logger.info("%s: made before, read from %s", name, folder)
                return Patch.load(folder)
            patch = make()
            patch.save(folder)
        return patch

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
