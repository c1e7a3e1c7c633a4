"""The names of a decoder's parts, found on the model itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.anatomy.architectures import ARCHITECTURES, BACKBONES, Architecture, LayoutName, Part
from harness.anatomy.layouts import Interleaved, Layout, Plain, Stacked, Transposed


@dataclass(frozen=True)
class Site:
    """One part of one layer (or of the model): where its weight or bias is stored.

    Attributes:
        part: which part it is.
        layer: index of the layer, or None outside the layers.
        name: name of the stored parameter.
        is_bias: a bias (or a norm's shift), not a weight.
        layout: how the part lies in the stored tensor.
    """

    part: Part
    layer: int | None
    name: str
    is_bias: bool
    layout: Layout


@dataclass(frozen=True)
class Anatomy:
    """Parts and sizes of one model; the only object that knows its architecture.

    Attributes:
        architecture: the family's table.
        n_layers: number of layers.
        n_heads: query heads a layer.
        n_kv_heads: key and value heads a layer.
        head_size: width of a head, from the weights (never hidden size // heads).
        tied: the head and the token embedding are one tensor.
        sites: every part of every layer, weights before biases, in the model's order.
    """

    architecture: Architecture
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_size: int
    tied: bool
    sites: tuple[Site, ...]

    @classmethod
    def of(cls, model: PreTrainedModel) -> Anatomy:
        """Reads the anatomy of a loaded model.

        Raises:
            ValueError: if the architecture has no table.
        """
        config = model.config
        architecture = ARCHITECTURES.get(config.model_type)
        if architecture is None:
            known = ", ".join(sorted(ARCHITECTURES))
            raise ValueError(f"architecture {config.model_type!r} is not known; known: {known}")
        text = config.get_text_config()
        if architecture.sees and text.model_type not in BACKBONES:
            raise ValueError(
                f"the language model of this {config.model_type} is of type {text.model_type!r}; "
                f"known: {', '.join(BACKBONES)}"
            )
        layers = model.get_submodule(architecture.layers)
        assert isinstance(layers, nn.ModuleList)
        heads = int(text.num_attention_heads)
        kv_heads = int(getattr(text, "num_key_value_heads", None) or heads)
        embed = model.get_submodule(architecture.embeds[0])
        head = model.get_submodule(architecture.head)
        tied = head.weight is embed.weight
        sites = _sites(model, architecture, len(layers), heads)
        o_proj = next(s for s in sites if s.part == "o_proj" and not s.is_bias)
        width = o_proj.layout.read(model.get_parameter(o_proj.name)).shape[1]
        return cls(architecture, len(layers), heads, kv_heads, width // heads, tied, sites)

    def layer_name(self, layer: int) -> str:
        """Path of a layer's module."""
        return f"{self.architecture.layers}.{layer}"

    @property
    def head_names(self) -> tuple[str, str]:
        """Names of the token embedding's and the head's weight."""
        return f"{self.architecture.embeds[0]}.weight", f"{self.architecture.head}.weight"


def _sites(model: PreTrainedModel, architecture: Architecture, n_layers: int, heads: int) -> tuple[Site, ...]:
    """All sites of a model; a parameter that the model lacks has none."""
    known: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    out: list[Site] = []

    def add(part: Part, layer: int | None, module: str, layout: Layout) -> None:
        for kind in ("weight", "bias"):
            name = f"{module}.{kind}"
            if name in known:
                out.append(Site(part, layer, name, kind == "bias", layout))

    for module in architecture.embeds:
        add("embed", None, module, Plain())
    for i in range(n_layers):
        prefix = f"{architecture.layers}.{i}"
        for part, (module, layout) in architecture.parts.items():
            add(part, i, f"{prefix}.{module}", _layout(layout, heads))
        for module in architecture.norms:
            add("norm", i, f"{prefix}.{module}", Plain())
    for module in architecture.outer_norms:
        add("norm", None, module, Plain())
    # A tied head is the embedding's tensor under another name: it is still a site, so that a
    # selector can name it; the patch knows that both are one.
    add("head", None, architecture.head, Plain())
    return tuple(out)


def _layout(name: LayoutName, heads: int) -> Layout:
    kind, _, index = name.partition(":")
    if kind == "stacked":
        return Stacked(int(index))
    if kind == "interleaved":
        return Interleaved(int(index), heads)
    return Transposed() if kind == "transposed" else Plain()
