"""What the tests of circuits share: tiny prompts, and path patching as the paper writes it, four forwards a pair."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from conftest import VOCAB
from torch import Tensor
from transformers import PreTrainedModel

from harness.anatomy import Anatomy
from harness.circuits.nodes import Head, Receiver
from harness.circuits.prompts import Prompts


def random_prompts(n: int = 4, length: int = 9, seed: int = 0, shared: int = 0, lengths: bool = True) -> Prompts:
    """Random tokens; ``shared`` first positions are alike, prompts end at different positions."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    clean, corrupt = draw(2, VOCAB, n, length), draw(2, VOCAB, n, length)
    corrupt[:, :shared] = clean[:, :shared]
    corrupt[:, shared] = (clean[:, shared] - 2 + draw(1, VOCAB - 2, n)) % (VOCAB - 2) + 2
    ends = draw(max(shared, length - 3), length, n) if lengths else torch.full((n,), length - 1)
    ends[0] = length - 1
    right, wrong = draw(2, VOCAB // 2, n, 2), draw(VOCAB // 2, VOCAB, n, 3)
    wrong[0, 2] = -1
    middle = draw(shared, int(ends.min()) + 1, n)
    templates = tuple("ab"[i % 2] for i in range(n))
    return Prompts(clean, corrupt, ends, right, wrong, templates, None, {"END": ends, "MIDDLE": middle})


class Plain:
    """Hooks on the projections of a whole model: the oracle, which knows nothing of the fast passes."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.anatomy = model, Anatomy.of(model)
        table = self.anatomy.architecture
        self.kind = table.model_type
        self.layers = [model.get_submodule(self.anatomy.layer_name(i)) for i in range(self.anatomy.n_layers)]
        self.outputs = [layer.get_submodule(table.parts["o_proj"][0]) for layer in self.layers]

    def run(self, ids: Tensor, z=None, write=None):
        """Logits everywhere, each head's output, and q, k, v as they leave their projection (OLMo 2: its norm).

        z: layer -> replacement of the output projection's input; write: (kind, layer, head) -> (values, mask).
        """
        seen_z, seen = {}, {}
        with ExitStack() as hooks, torch.no_grad():

            def on(handle):
                hooks.callback(handle.remove)

            for i, module in enumerate(self.outputs):

                def before(_module, args, i=i):
                    value = args[0] if z is None else z[i]
                    seen_z[i] = value
                    return (value, *args[1:])

                on(module.register_forward_pre_hook(before))
            for i, layer in enumerate(self.layers):
                for module, kinds in self._sources(layer):

                    def after(_module, _args, output, i=i, kinds=kinds):
                        output = output.clone()
                        for kind in kinds:
                            view = self._view(output, kind, kinds)  # [B, T, heads, D]
                            seen[kind, i] = view.clone()
                            for (wk, wl, head), (values, mask) in (write or {}).items():
                                if (wk, wl) == (kind, i):
                                    view[:, :, head] = torch.where(mask[..., None], values, view[:, :, head])
                        return output

                    on(module.register_forward_hook(after))
            logits = self.model(ids, use_cache=False).logits
        return logits, seen_z, seen

    def _sources(self, layer):
        attention = layer.get_submodule(self.anatomy.architecture.attention)
        if self.kind == "gpt2":
            return [(attention.c_attn, "qkv")]
        if self.kind == "gpt_neox":
            return [(attention.query_key_value, "qkv")]
        names = {"q": "q_norm", "k": "k_norm"} if self.kind == "olmo2" else {}
        return [(getattr(attention, names.get(k, f"{k}_proj")), k) for k in "qkv"]

    def _view(self, output, kind, kinds):
        b, t, _ = output.shape
        if kinds != "qkv":
            return output.view(b, t, -1, self.anatomy.head_size)
        i = "qkv".index(kind)
        if self.kind == "gpt2":
            return output.view(b, t, 3, self.anatomy.n_heads, -1)[:, :, i]
        return output.view(b, t, self.anatomy.n_heads, 3, -1)[:, :, :, i]

    def path(self, prompts: Prompts, sender: Head, receiver: Receiver) -> Tensor:
        """Logits at the ends after algorithm 1, [N, V]."""
        length = prompts.clean_NT.shape[1]
        everywhere = torch.ones(len(prompts), length, dtype=torch.bool)

        def mask(place):
            return torch.arange(length) == prompts.place(place)[:, None] if place else everywhere

        _, corrupt_z, _ = self.run(prompts.corrupt_NT)
        _, clean_z, _ = self.run(prompts.clean_NT)
        d = self.anatomy.head_size
        frozen = {i: value.clone() for i, value in clean_z.items()}
        at = slice(sender.head * d, (sender.head + 1) * d)
        frozen[sender.layer][..., at] = torch.where(
            mask(sender.place)[..., None], corrupt_z[sender.layer][..., at], clean_z[sender.layer][..., at]
        )
        logits, _, seen = self.run(prompts.clean_NT, z=frozen)
        if receiver.kind != "logits":
            values = seen[receiver.kind, receiver.layer][:, :, receiver.head]
            where = (receiver.kind, receiver.layer, receiver.head)
            logits, _, _ = self.run(prompts.clean_NT, write={where: (values, mask(receiver.place))})
        return logits[torch.arange(len(prompts)), prompts.ends_N]
