"""What reinforcement minimises: a reward for each answer, and the distance to the base over the whole vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.config.training import RLConfig
from harness.training.inputs import Inputs, on

DIRECTIONS = ("new_base", "base_new")


def objective(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    rewards: Sequence[float],
    as_base: Callable[[], AbstractContextManager[object]],
    config: RLConfig,
    more: Inputs | None = None,
) -> tuple[Tensor, float]:
    """What is minimised, summed over the rows: -r log pi(y|x) + kl D.

    Args:
        model: the model.
        prompts: tokens of each row's prompt.
        answers: tokens of each row's answer.
        rewards: r of each row.
        as_base: context in which the model is the base.
        config: the penalty's weight and direction.
        more: what the model takes beside the tokens.

    Returns:
        The sum with its gradient, and the summed penalty D, in nats.
    """
    device = model.device
    lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
    ids_RT = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
    learned_RT = torch.zeros(len(prompts), max(lengths), dtype=torch.bool)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids_RT[row, : lengths[row]] = torch.tensor([*prompt, *answer])
        learned_RT[row, len(prompt) : lengths[row]] = True
    present_RT = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    ids_RT, learned_RT, present_RT = ids_RT.to(device), learned_RT.to(device), present_RT.to(device)
    told_RT, more = learned_RT[:, 1:], on(model, more or {})
    logs_NV = _log_probabilities(model, ids_RT, present_RT, told_RT, more)
    chosen_N = logs_NV.gather(1, ids_RT[:, 1:][told_RT][:, None])[:, 0]
    rows_N = told_RT.nonzero()[:, 0]
    reward_R = torch.tensor(rewards, device=device, dtype=chosen_N.dtype)
    loss = -(reward_R[rows_N] * chosen_N).sum()
    if not config.kl:
        return loss, 0.0
    with torch.no_grad(), as_base():
        base_NV = _log_probabilities(model, ids_RT, present_RT, told_RT, more)
    one, two = (logs_NV, base_NV) if config.kl_direction == "new_base" else (base_NV, logs_NV)
    distance = (one.exp() * (one - two)).sum()
    return loss + config.kl * distance, float(distance.detach())


def _log_probabilities(
    model: PreTrainedModel, ids_RT: Tensor, present_RT: Tensor, told_RT: Tensor, more: Inputs
) -> Tensor:
    """Log-probabilities of the whole vocabulary where an answer's token comes next: [N, V], fp32 or better."""
    logits_RTV = model(input_ids=ids_RT, attention_mask=present_RT.long(), use_cache=False, **more).logits
    kept_NV = logits_RTV[:, :-1][told_RT]
    return kept_NV.to(torch.promote_types(kept_NV.dtype, torch.float32)).log_softmax(-1)
