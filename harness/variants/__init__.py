"""The registry of methods: one short module each, from its config to a patch."""

from __future__ import annotations

from collections.abc import Callable

from harness.config.specs import VariantSpec
from harness.config.variants import BaseVariant, NoiseVariant
from harness.models import Base
from harness.patch import Patch
from harness.variants import (
    adapter,
    adaptive,
    checkpoint,
    circuit,
    composed,
    destroy,
    experts,
    freeze,
    lora_par,
    merge,
    tuned,
)
from harness.variants.context import Context, Donor, NotMadeError, provenance
from harness.variants.plan import plan_text

__all__ = ["METHODS", "Context", "Donor", "NotMadeError", "build", "plan_text"]


def _base(base: Base, config: BaseVariant | NoiseVariant, context: Context) -> Patch:
    """The base itself: an empty patch; whoever runs a cell sees to what noise changes."""
    return Patch(provenance=provenance(base, config, []))


METHODS: dict[str, Callable[..., Patch]] = {
    "base": _base,
    "noise": _base,
    "merge": merge.build,
    "destroy": destroy.build,
    "checkpoint": checkpoint.build,
    "freeze": freeze.build,
    "adapter": adapter.build,
    **dict.fromkeys(("svf", "lora", "ia3"), tuned.build),
    "transfer": experts.build,
    "few_shot": adaptive.build_few_shot,
    "lora_par": lora_par.build,
    "circuit": circuit.build,
    **dict.fromkeys(
        ("prompt", "classifier"),
        lambda base, config, context: adaptive.build_asking(base, config, context, build),
    ),
    "composed": lambda base, config, context: composed.build(base, config, context, build),
}


def build(base: Base, spec: VariantSpec, context: Context) -> Patch:
    """Builds a variant's patch on a base.

    Raises:
        ValueError: if the variant cannot be built, with its name.
    """
    try:
        return METHODS[spec.method](base, spec.config, context)
    except ValueError as error:
        raise ValueError(f"variant {spec.label} on {base.name}: {error}") from error
