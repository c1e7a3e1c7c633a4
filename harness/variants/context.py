"""What a method may ask for while it builds a patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from harness.models import Base, fingerprint
from harness.patch import Change, Provenance

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Donor:
    """Another model that a method takes tensors from."""

    name: str
    model: PreTrainedModel
    fingerprint: str


@dataclass(frozen=True)
class Context:
    """Access to donors.

    Attributes:
        load: loads a model by name, folder or hub id, with the base's dtype, on the CPU.
    """

    load: Callable[[str], PreTrainedModel]

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
