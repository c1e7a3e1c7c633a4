"""Another checkpoint of the same architecture as a variant: every tensor replaced."""

from __future__ import annotations

from torch import Tensor
from transformers import PretrainedConfig

from harness.anatomy import Anatomy
from harness.config.variants import CheckpointVariant
from harness.models import Base, computing_settings
from harness.patch import Change, Patch
from harness.variants.context import Context, provenance
from harness.variants.merge import check_shapes


def build(base: Base, config: CheckpointVariant, context: Context) -> Patch:
    """Builds the patch from a model named by ``source``.

    The variant keeps the base's tokenizer and config: a checkpoint with other settings of the
    config (rotary base, norms) is a base of its own.

    Raises:
        ValueError: if no source is named, or it does not fit the base.
    """
    donor = context.donor(base, config.source)
    check_shapes(base, donor, list(base.anatomy.sites))
    differing = _config_differences(base, donor.model.config)
    if differing:
        raise ValueError(f"{donor.name} computes with other settings than {base.name} ({differing}); run it as --model")
    tied = Anatomy.of(donor.model).tied
    if base.anatomy.tied and not tied and not config.untie:
        raise ValueError(
            f"embedding and head are one tensor in {base.name} and two in {donor.name}: set variant.untie=true"
        )
    dtypes = {n: p.dtype for n, p in base.model.named_parameters(remove_duplicate=False)}
    tensors: dict[str, Tensor] = {}
    for name, parameter in donor.model.named_parameters(remove_duplicate=False):
        tensors[name] = parameter.detach().to(dtypes[name])
    changes = [Change(n, "all", None, t.numel(), donor.name) for n, t in tensors.items() if not _is_alias(n, tensors)]
    return Patch(tensors, untied=config.untie, provenance=provenance(base, config, changes, (donor,)))


def _is_alias(name: str, tensors: dict[str, Tensor]) -> bool:
    """A later name of a tensor that another name counts already."""
    first = next(n for n, t in tensors.items() if t.data_ptr() == tensors[name].data_ptr())
    return first != name


def _config_differences(base: Base, other: PretrainedConfig) -> str:
    """Settings of the forward pass in which two configs differ; ties and token numbers are not among them."""
    one, two = computing_settings(base.model.config), computing_settings(other)
    free = {"tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "max_position_embeddings"}
    keys = sorted(k for k in {*one, *two} - free if one.get(k) != two.get(k))
    return ", ".join(f"{k}: {one.get(k)} here, {two.get(k)} there" for k in keys)
