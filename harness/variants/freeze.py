"""Chosen parts fine-tuned, the rest frozen.

Shao & Wu, "Who Reasons in the Large Language Models?" (NeurIPS 2025), section 2.3. F1 trains embedding
and head, F2 ``o_proj`` too, F3 all of attention, F4 everything; norms are trained in each. The control
that the paper lacks trains as many parameters of the MLP as F2 does of ``o_proj``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version

from harness.anatomy import Selector, Site, parse_parts
from harness.config.variants import FreezeVariant
from harness.models import Base, tokenizer_digest
from harness.patch import Change, Patch
from harness.training import digest_of, fine_tune, read_texts, trl_version
from harness.variants.context import Context, provenance


def build(base: Base, config: FreezeVariant, context: Context) -> Patch:
    """Trains the parts, or takes them from the folder of patches if the same training was done before.

    Raises:
        ValueError: for a selector without match, or parts that share a tensor with frozen ones.
    """
    sites = trained_sites(base, config)
    texts = read_texts(config.data, context.data)
    key = {
        "base": base.fingerprint,
        "tokenizer": tokenizer_digest(base.tokenizer),
        "dtype": str(base.model.dtype),
        "config": asdict(config),
        "texts": digest_of(texts),
        "versions": [version("torch"), version("transformers"), trl_version()],
    }

    def make() -> Patch:
        names = dict.fromkeys(_own_name(base, site) for site in sites)
        trained = fine_tune(base.model, base.tokenizer, texts, names, config.train)
        changes = [
            Change(s.name, s.part, s.layer, _size(base, s), "trained")
            for s in sites
            # A tied head is the embedding's tensor: counted once.
            if not (s.part == "head" and base.anatomy.tied and any(other.part == "embed" for other in sites))
        ]
        source = provenance(base, config, changes, seeds={"train": config.train.seed})
        count = sum(tensor.numel() for tensor in trained.tensors.values())
        versions = {**source.versions, "trl": trl_version()}
        source = replace(source, trained=count, measured=trained.measured(), versions=versions)
        return Patch(trained.tensors, provenance=source)

    return context.once("freeze", key, make)


def trained_sites(base: Base, config: FreezeVariant) -> list[Site]:
    """What is trained: the parts, the norms, and the matched control."""
    if not config.parts:
        raise ValueError("freeze: no parts to train; e.g. variant.parts=[o_proj]")
    wanted = list(config.parts) + (["norm"] if config.norms else [])
    layered = Selector(wanted, config.layers).resolve(base.anatomy)
    # A range of layers says nothing of what lies outside them.
    outer = [s for s in base.anatomy.sites if s.layer is None and s.part in parse_parts(wanted)]
    wished = {*layered, *outer, *_matched(base, config)}
    chosen = [s for s in base.anatomy.sites if s in wished]
    names = {s.name for s in chosen}
    for site in base.anatomy.sites:
        if site.name in names and site not in chosen:
            raise ValueError(
                f"{site.name} holds {site.part} beside parts that are trained; a tensor is trained whole: "
                f"choose {site.part} as well"
            )
    return chosen


def _matched(base: Base, config: FreezeVariant) -> list[Site]:
    """Tensors of some parts, spread over the layers, with as many parameters as other parts have."""
    if bool(config.matched_parts) != bool(config.matched_to):
        raise ValueError("freeze: matched_parts and matched_to go together")
    if not config.matched_parts:
        return []
    pool = Selector(config.matched_parts, config.layers, bias=False).resolve(base.anatomy)
    wanted = sum(_size(base, s) for s in Selector(config.matched_to, config.layers).resolve(base.anatomy))
    picks = [_spread(pool, count) for count in range(1, len(pool) + 1)]
    return min(picks, key=lambda pick: abs(sum(_size(base, s) for s in pick) - wanted))


def _spread(pool: Sequence[Site], count: int) -> list[Site]:
    """So many of a list, evenly over it."""
    return [pool[int((i + 0.5) * len(pool) / count)] for i in range(count)]


def _size(base: Base, site: Site) -> int:
    return site.layout.read(base.model.get_parameter(site.name)).numel()


def _own_name(base: Base, site: Site) -> str:
    """A tied head is trained under the embedding's name."""
    return base.anatomy.head_names[0] if site.part == "head" and base.anatomy.tied else site.name
