"""One table an architecture: where a decoder of that family keeps its parts.

Sizes never stand here; they come from the weights. Adding an architecture is adding a table and a
row to ``tests/anatomy/test_anatomy.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Part = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "norm", "embed", "head"]
PARTS: tuple[Part, ...] = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "norm",
    "embed",
    "head",
)
# Names that stand for several parts wherever parts are named.
GROUPS: Mapping[str, tuple[Part, ...]] = {
    "mlp": ("gate_proj", "up_proj", "down_proj"),
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "all": PARTS,
}
# How a fused tensor is read: "plain", "transposed", "stacked:i", "interleaved:i".
LayoutName = str


@dataclass(frozen=True)
class Architecture:
    """Module paths of one family; paths of layer parts are relative to the layer.

    Attributes:
        model_type: Hugging Face ``config.model_type``.
        layers: path of the ModuleList of layers.
        parts: part -> ``(module path in the layer, layout)``.
        norms: module paths of the norms in a layer; absent ones are skipped (OLMo's have no weights).
        outer_norms: module paths of the norms outside the layers.
        embeds: module paths of the embeddings (tokens first, then positions if learned).
        head: module path of the output head.
        attention: path of the attention module in a layer.
        sees: it reads images too; the table is of its language model, and nothing else of it is a part.
    """

    model_type: str
    layers: str
    parts: Mapping[Part, tuple[str, LayoutName]]
    norms: tuple[str, ...]
    outer_norms: tuple[str, ...]
    embeds: tuple[str, ...]
    head: str = "lm_head"
    attention: str = "self_attn"
    sees: bool = False


_LLAMA_PARTS: dict[Part, tuple[str, LayoutName]] = {
    "q_proj": ("self_attn.q_proj", "plain"),
    "k_proj": ("self_attn.k_proj", "plain"),
    "v_proj": ("self_attn.v_proj", "plain"),
    "o_proj": ("self_attn.o_proj", "plain"),
    "gate_proj": ("mlp.gate_proj", "plain"),
    "up_proj": ("mlp.up_proj", "plain"),
    "down_proj": ("mlp.down_proj", "plain"),
}


def _llama_like(model_type: str, norms: tuple[str, ...], root: str = "model", sees: bool = False) -> Architecture:
    outer, embeds = (f"{root}.norm",), (f"{root}.embed_tokens",)
    return Architecture(model_type, f"{root}.layers", _LLAMA_PARTS, norms, outer, embeds, sees=sees)


# Language models of models that read images, whose parts have the names of Llama's.
BACKBONES = ("llama", "mistral", "qwen2")
_PRE_NORMS = ("input_layernorm", "post_attention_layernorm")

_GPT2 = Architecture(
    "gpt2",
    "transformer.h",
    {
        # Conv1D: weights are stored [in, out]; c_attn is q|k|v along the output axis.
        "q_proj": ("attn.c_attn", "stacked:0"),
        "k_proj": ("attn.c_attn", "stacked:1"),
        "v_proj": ("attn.c_attn", "stacked:2"),
        "o_proj": ("attn.c_proj", "transposed"),
        "up_proj": ("mlp.c_fc", "transposed"),
        "down_proj": ("mlp.c_proj", "transposed"),
    },
    ("ln_1", "ln_2"),
    ("transformer.ln_f",),
    ("transformer.wte", "transformer.wpe"),
    attention="attn",
)


def _fused_by_head(attention: str) -> dict[Part, tuple[str, LayoutName]]:
    """GPT-NeoX and BLOOM: query_key_value is interleaved head by head."""
    fused = f"{attention}.query_key_value"
    return {
        "q_proj": (fused, "interleaved:0"),
        "k_proj": (fused, "interleaved:1"),
        "v_proj": (fused, "interleaved:2"),
        "o_proj": (f"{attention}.dense", "plain"),
        "up_proj": ("mlp.dense_h_to_4h", "plain"),
        "down_proj": ("mlp.dense_4h_to_h", "plain"),
    }


ARCHITECTURES: Mapping[str, Architecture] = {
    a.model_type: a
    for a in (
        _llama_like("llama", _PRE_NORMS),
        _llama_like("mistral", _PRE_NORMS),
        _llama_like("qwen2", _PRE_NORMS),
        # Qwen3 norms each head's queries and keys.
        _llama_like("qwen3", (*_PRE_NORMS, "self_attn.q_norm", "self_attn.k_norm")),
        _llama_like("olmo", _PRE_NORMS),
        # A language model of Llama's, Mistral's or Qwen2's family behind a tower that reads images.
        _llama_like("llava", _PRE_NORMS, "model.language_model", sees=True),
        _llama_like("llava_next", _PRE_NORMS, "model.language_model", sees=True),
        # OLMo 2 norms after each block, and queries and keys over all heads at once.
        _llama_like(
            "olmo2",
            ("post_attention_layernorm", "post_feedforward_layernorm", "self_attn.q_norm", "self_attn.k_norm"),
        ),
        _GPT2,
        Architecture(
            "gpt_neox",
            "gpt_neox.layers",
            _fused_by_head("attention"),
            _PRE_NORMS,
            ("gpt_neox.final_layer_norm",),
            ("gpt_neox.embed_in",),
            attention="attention",
        ),
        Architecture(
            "bloom",
            "transformer.h",
            _fused_by_head("self_attention"),
            _PRE_NORMS,
            ("transformer.word_embeddings_layernorm", "transformer.ln_f"),
            ("transformer.word_embeddings",),
            attention="self_attention",
        ),
    )
}
