"""How much each trained element matters to some data, to second order (LoRA-PAR, step 2).

With L the mean loss over examples and g_k the gradient of the k-th, one example a time:

    g = 1/N sum_k g_k,   F = 1/N sum_k g_k^2,   I(phi) = | g phi - 1/2 F phi^2 |

F, the diagonal of the empirical Fisher matrix, needs the gradients of single examples: the square of a batch's mean
gradient is another number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import PreTrainedModel

IGNORED = -100
WORKING = ("normal", "orthogonal", "pissa", "pissa_niter_N", "olora")


@dataclass(frozen=True)
class Example:
    """A text as tokens, and from which on they are learned."""

    tokens: tuple[int, ...]
    learned_from: int


def importance(
    model: PreTrainedModel,
    parameters: Mapping[str, nn.Parameter],
    examples: Sequence[Example],
    batch_size: int = 8,
) -> dict[str, Tensor]:
    """Importance of each element of some parameters.

    Args:
        model: the model with the parameters in it; it computes without dropout.
        parameters: name in the model -> parameter.
        examples: what they may matter to; an example's loss is the mean over its learned tokens, in nats.
        batch_size: examples side by side; each has its own gradients in memory.

    Returns:
        Name -> scores of the parameter's shape, fp32, on the CPU.

    Raises:
        ValueError: without examples, for one of which nothing is learned, or if every score is 0.
    """
    if not examples:
        raise ValueError("importance: no examples")
    if empty := [i for i, e in enumerate(examples) if not 0 < e.learned_from < len(e.tokens)]:
        raise ValueError(f"importance: example {empty[0]} has no prompt, or nothing that is learned")
    means = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    squares = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    # Of like lengths together: what is padded is computed for nothing.
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].tokens))
    with tqdm(total=len(examples), desc="importance", unit="example", leave=False, disable=None) as bar:
        for first in range(0, len(order), batch_size):
            batch = [examples[i] for i in order[first : first + batch_size]]
            for name, gradients in example_gradients(model, parameters, batch).items():
                wide = gradients.double()
                means[name] += wide.sum(0)
                squares[name] += wide.square().sum(0)
            bar.update(len(batch))
    n = len(examples)
    out = {}
    for name, parameter in parameters.items():
        phi = parameter.detach().double()
        out[name] = (means[name] / n * phi - squares[name] / n * phi.square() / 2).abs().float().cpu()
    if not any(bool(scores.any()) for scores in out.values()):
        raise ValueError(
            "importance: every score is 0. Where one factor starts at 0 (PEFT's default and gaussian), the other has "
            f"no gradient; starts that work: {', '.join(WORKING)}"
        )
    return out


def example_gradients(
    model: PreTrainedModel, parameters: Mapping[str, nn.Parameter], batch: Sequence[Example]
) -> dict[str, Tensor]:
    """The gradient of each example's loss: name -> [examples, *shape]."""
    device = model.device
    longest = max(len(e.tokens) for e in batch)
    ids_RT = torch.zeros(len(batch), longest, dtype=torch.long, device=device)
    labels_RT = torch.full((len(batch), longest), IGNORED, dtype=torch.long, device=device)
    for row, example in enumerate(batch):
        tokens = torch.tensor(example.tokens, device=device)
        ids_RT[row, : len(tokens)] = tokens
        labels_RT[row, example.learned_from : len(tokens)] = tokens[example.learned_from :]
    present_1T = torch.ones(1, longest, dtype=torch.long, device=device)
    trained = {name: p.detach() for name, p in parameters.items()}
    others = {name: p.detach() for name, p in model.named_parameters() if name not in trained}
    others.update(model.named_buffers())

    def loss(own: dict[str, Tensor], ids_T: Tensor, labels_T: Tensor) -> Tensor:
        # All are present: what is padded stands behind, where no earlier token looks.
        given = {"input_ids": ids_T[None], "attention_mask": present_1T, "use_cache": False}
        logits_TV = functional_call(model, {**own, **others}, (), given).logits[0, :-1]
        wide_TV = logits_TV.to(torch.promote_types(logits_TV.dtype, torch.float32))
        losses_T = cross_entropy(wide_TV, labels_T[1:], ignore_index=IGNORED, reduction="none")
        return losses_T.sum() / (labels_T[1:] != IGNORED).sum()

    with _plain(model):
        found: dict[str, Tensor] = vmap(grad(loss), in_dims=(None, 0, 0))(trained, ids_RT, labels_RT)
    return found


@contextmanager
def _plain(model: PreTrainedModel) -> Iterator[None]:
    """No dropout, and attention in plain products: the fused kernels have no rule for a batch of gradients."""
    training, attention = model.training, model.config._attn_implementation
    model.eval()
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
        model.train(training)
