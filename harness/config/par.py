"""Variants trained in two stages on data of two kinds (LoRA-PAR), and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.config.training import GRPOConfig, SFTConfig, TextsConfig

QKVGUD = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass
class TeacherConfig:
    """Who votes whether an item needs System 1 or System 2; one of the three keys.

    Attributes:
        base: a model of the harness: name, folder or hub id.
        asked: lm-eval's kind of model (``local-chat-completions`` for an OpenAI-compatible endpoint, ``hf``, ...).
        settings: what that is opened with, as lm-eval's ``--model_args``.
        rule: ``numbers`` in the question, or ``steps`` (signs of equality), ``sentences`` or ``words`` in the answer:
            more of them than ``above`` is System 2.
        above: of the rule.
        tokens: tokens that a model may answer with; one that thinks first needs many.
    """

    base: str | None = None
    asked: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    rule: str | None = None
    above: float = 1
    tokens: int = 1024


@dataclass
class SplitConfig:
    """How training items are divided (LoRA-PAR, step 1).

    Attributes:
        by: ``vote`` of the teachers, ``random``, or ``truth`` where it is known (the lab).
        teachers: who votes.
        role: the model that teachers are told to act as; null for no role-play, the paper's ablation.
        ties: what an item is on which the vote is tied, or that no teacher could read: ``system1``, ``system2``, or
            ``drop``.
        share: share of System 1 in a random division.
    """

    by: str = "vote"
    teachers: list[TeacherConfig] = field(default_factory=list)
    role: str | None = None
    ties: str = "system2"
    share: float = 0.5


@dataclass
class LoraParVariant:
    """Two regions of one LoRA, trained in two stages (Huang et al., "LoRA-PAR", EMNLP 2025), and its baselines.

    Attributes:
        parts: parts whose weights are adapted.
        layers: as in merge.
        adapter: ``lora``, or ``full`` for the weights themselves (SFT only, no mask).
        init: ``normal`` draws both factors from N(0, 0.01), as the released code; ``default`` (B = 0), ``gaussian``,
            ``orthogonal``, ``pissa``, ``pissa_niter_N`` and ``olora`` are PEFT's.
        centred: the adapter counts from its own start, so that the first model is the base; PiSSA and OLoRA always do.
        rank: rank of a change.
        alpha: a change is scaled by alpha / rank.
        rslora: by alpha / sqrt(rank) instead.
        dora: magnitudes of the columns trained beside.
        tasks: tasks whose training documents are learned from.
        task_settings: settings of those tasks.
        texts: texts that are learned from in their place; a completion is right if it is written word by word.
        questions: training documents of each subtask, from the first; null for all.
        held_back: items held back at random, to choose among rates; never learned from.
        split: how items are divided.
        mask: elements that a stage trains: ``importance`` of its system, ``random`` of equal number, or ``none`` for
            all.
        samples: items of each system that importance is measured on.
        theta: share of the whole importance that a system's elements hold together.
        sft_shared: share of the elements important to both systems that SFT trains (the paper's alpha).
        rl_shared: the same of RL (its beta).
        stages: ``sft`` and ``rl`` in their order.
        sft_on: ``system1``, ``system2`` or ``all`` items.
        rl_on: the same.
        reward: ``task`` is the task's own grade, 1 or 0; ``paper`` adds up correctness and format, up to 4.
        instruction: what stands before each prompt in RL; null is nothing, or with ``reward=paper`` its own words.
        rates: learning rates of SFT that are tried one by one; the best on held-back items stays. Empty: ``sft``'s own.
        rl_rates: the same of RL. A stage that a variant lacks tries nothing.
        sft: how to fine-tune.
        rl: how to reinforce.
        seed: of the start of the adapter, the samples, and the order of items and answers in both stages, whose own
            seeds count for nothing.
    """

    method: str = "lora_par"
    parts: list[str] = field(default_factory=lambda: list(QKVGUD))
    layers: Any = None
    adapter: str = "lora"
    init: str = "normal"
    centred: bool = False
    rank: int = 8
    alpha: float = 64.0
    rslora: bool = False
    dora: bool = False
    tasks: list[str] = field(default_factory=list)
    task_settings: dict[str, Any] = field(default_factory=lambda: {"num_fewshot": 0})
    texts: TextsConfig | None = None
    questions: int | None = None
    held_back: int = 128
    split: SplitConfig = field(default_factory=SplitConfig)
    mask: str = "importance"
    samples: int = 100
    theta: float = 0.9
    sft_shared: float = 1.0
    rl_shared: float = 1.0
    stages: list[str] = field(default_factory=lambda: ["sft", "rl"])
    sft_on: str = "system1"
    rl_on: str = "system2"
    reward: str = "task"
    instruction: str | None = None
    rates: list[float] = field(default_factory=list)
    rl_rates: list[float] = field(default_factory=list)
    sft: SFTConfig = field(default_factory=SFTConfig)
    rl: GRPOConfig = field(default_factory=GRPOConfig)
    seed: int = 41
