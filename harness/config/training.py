"""How something is trained: texts to learn, and the settings of each kind of training."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class TextsConfig:
    """Texts to train on: a prompt, which is read, and a completion, which is learned.

    Attributes:
        path: data set, as in a task: the hub's path, a folder of the mirror, or ``harness/lab``.
        name: its configuration.
        split: its split.
        prompt: column of the prompt, or a template with columns in braces.
        completion: column of the completion, or a template; null if ``divider`` cuts the prompt's text.
        divider: the completion is what follows this text's last place in the prompt column.
        limit: rows, from the first; null for all.
    """

    path: str = MISSING
    name: str | None = None
    split: str = "train"
    prompt: str = "prompt"
    completion: str | None = "completion"
    divider: str | None = None
    limit: int | None = None


@dataclass
class SFTConfig:
    """Supervised fine-tuning; the defaults are those of Stethoscope for Networks, appendix A.

    Attributes:
        learning_rate: peak of the cosine schedule.
        weight_decay: of AdamW.
        betas: the two of AdamW.
        batch_size: rows that a step learns from.
        device_batch_size: rows that the device holds at a time; null for all of ``batch_size``.
        epochs: passes over the rows.
        max_steps: ends earlier; null for no such end.
        warmup_ratio: share of the steps with a rising learning rate.
        max_length: tokens of a row; what a longer one has beyond is cut off, and counted.
        gradient_checkpointing: recompute activations instead of holding them.
        seed: order of the rows.
    """

    learning_rate: float = 1e-5
    weight_decay: float = 1e-4
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    batch_size: int = 16
    device_batch_size: int | None = None
    epochs: float = 5.0
    max_steps: int | None = None
    warmup_ratio: float = 0.05
    max_length: int = 32768
    gradient_checkpointing: bool = True
    seed: int = 0


@dataclass
class RLConfig:
    """REINFORCE with a penalty on the distance to the base; the defaults are those of Transformer-Squared's paper.

    Attributes:
        learning_rate: of Adam; the peak of the schedule.
        schedule: ``cosine`` to 0, or ``constant`` (the released code).
        clip: largest norm of the gradient.
        batch_size: prompts that a step learns from.
        device_batch_size: prompts that the device holds at a time; null for all of ``batch_size``.
        steps: steps.
        kl: weight of the penalty.
        kl_direction: ``new_base`` is KL(new || base), as the paper writes; ``base_new`` is KL(base || new), as its
            released code computes.
        temperature: of the answers that are learned from; 0 takes the likeliest tokens (the released code).
        wrong: reward of a wrong answer; a right one has 1.
        max_tokens: tokens of an answer.
        evaluate_every: steps between looks at the validation questions.
        patience: looks without a better score after which training ends; null for none.
        seed: order of the questions, and the answers.
    """

    learning_rate: float = 2e-3
    schedule: str = "cosine"
    clip: float = 1e-3
    batch_size: int = 256
    device_batch_size: int | None = None
    steps: int = 200
    kl: float = 0.1
    kl_direction: str = "new_base"
    temperature: float = 1.0
    wrong: float = -1.0
    max_tokens: int = 256
    evaluate_every: int = 10
    patience: int | None = None
    seed: int = 42


@dataclass
class GRPOConfig:
    """Group-relative policy optimisation by TRL; the defaults are those of LoRA-PAR's released code.

    Attributes:
        learning_rate: peak of the cosine schedule.
        weight_decay: of AdamW.
        betas: the two of AdamW.
        prompts: prompts that a step learns from.
        generations: answers to each.
        device_batch_size: answers that the device holds at a time; null for all of ``prompts`` x ``generations``.
        epochs: passes over the prompts.
        max_steps: ends earlier; null for no such end.
        warmup_ratio: share of the steps with a rising learning rate.
        clip: largest norm of the gradient.
        beta: weight of the distance to the base.
        temperature: of the answers.
        max_tokens: tokens of an answer.
        loss: TRL's ``loss_type``.
        scale: TRL's ``scale_rewards``.
        seed: order of the prompts, and the answers.
    """

    learning_rate: float = 5e-6
    weight_decay: float = 0.1
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])
    prompts: int = 4
    generations: int = 8
    device_batch_size: int | None = None
    epochs: float = 1.0
    max_steps: int | None = None
    warmup_ratio: float = 0.1
    clip: float = 0.1
    beta: float = 0.04
    temperature: float = 0.9
    max_tokens: int = 256
    loss: str = "grpo"
    scale: str = "group"
    seed: int = 41
