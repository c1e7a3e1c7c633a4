"""What may stand in ``conf/``: one dataclass a kind of file, checked when it is composed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from harness.config.results import GateConfig, LogConfig, ResultsConfig

__all__ = [
    "DataConfig",
    "GateConfig",
    "LevelsConfig",
    "LogConfig",
    "ModelConfig",
    "ResultsConfig",
    "RunConfig",
    "RuntimeConfig",
    "SandboxConfig",
    "TaskConfig",
]


@dataclass
class DataConfig:
    """Where data sets come from (``conf/data/``).

    Attributes:
        source: ``hub`` asks the Hugging Face hub, ``mirror`` reads files below ``root``.
        root: folder of the mirror: ``<dataset path>/<dataset name or default>/<split>.jsonl[.gz]|.parquet``.
    """

    source: str = "hub"
    root: str | None = None


@dataclass
class RuntimeConfig:
    """How cells are run (``conf/runtime/``).

    Attributes:
        device: torch device; ``auto`` takes a GPU if there is one.
        device_map: as in transformers: ``auto`` or ``balanced`` share one model out among several GPUs;
            null puts it on ``device``.
        dtype: dtype of the resident model; ``auto`` as stored.
        batch_size: requests in a batch (``engine=hf``), texts that are generated side by side (``engine=tree``;
            more where their prompts share tokens, as many as take no more memory).
        batch_tokens: tokens of a batch of prompts or scored requests (``engine=tree``).
        cache_mb: memory for keys and values, in MiB (``engine=tree``).
        refill: share of the ``batch_size`` places that must be free before the next prompts come in, from
            0 (at once) to 1 (when all are; ``engine=tree``).
        deadline: seconds that one generated text may take; null for any. A text that is late ends there
            and is counted.
        cell_deadline: seconds that one process may work on one cell, grading included; null for any. A cell
            that is late fails, and keeps the parts it finished.
        gpus_per_worker: devices that each worker leases; null leases one to each worker of ``pytest -n`` and
            of a sweep, and leaves all to a run that is alone.
        max_length: context in tokens; null takes the model's own.
        attn_implementation: as in transformers; null for its default.
        threads: torch threads in a worker; null shares the cores out among the workers (`OMP_NUM_THREADS` at most).
        trust_remote_code: run modelling code that comes with a model's weights.
        chat_template: wrap prompts in the tokenizer's chat template.
    """

    device: str = "auto"
    device_map: str | None = None
    dtype: str = "float32"
    batch_size: int = 32
    batch_tokens: int = 4096
    cache_mb: int = 8192
    refill: float = 0.25
    deadline: float | None = None
    cell_deadline: float | None = None
    gpus_per_worker: int | None = None
    max_length: int | None = None
    attn_implementation: str | None = None
    threads: int | None = None
    trust_remote_code: bool = False
    chat_template: bool = False


@dataclass
class SandboxConfig:
    """Limits on programs that a model wrote.

    Attributes:
        kind: ``bubblewrap`` isolates; ``process`` only sets resource limits and warns; ``auto``
            is bubblewrap, or ``process`` where it is missing and every model is the lab's own.
        seconds: wall-clock limit of one program.
        memory_mb: address space of one program.
        processes: processes of the user that may exist while it runs.
        file_mb: size of a file it may write.
        output_kb: output that is kept.
    """

    kind: str = "auto"
    seconds: float = 5.0
    memory_mb: int = 1024
    processes: int = 64
    file_mb: int = 16
    output_kb: int = 64


@dataclass
class LevelsConfig:
    """Generated answers judged by level (Stethoscope for Networks, section 2.2).

    Attributes:
        tasks: chosen tasks whose answers are judged; empty judges none.
        judge: ``rule``, or lm-eval's name of a model that is asked (``local-chat-completions``, ``hf``, ...).
        judge_args: what that model is opened with, as lm-eval's ``--model_args``.
        judge_tokens: tokens that it may answer with; a model that thinks first needs many.
        prompts: other prompts of the task under which an answer is scored.
        tokens: tokens of an answer that are scored, from the first.
        documents: documents that thresholds and labelled set are made of, drawn at random; null for all.
        destroyed: variants whose answers stand in the labelled set as nonsense.
        seed: draws the other prompts, the halves and the shuffles.
    """

    tasks: list[str] = field(default_factory=list)
    judge: str = "rule"
    judge_args: dict[str, Any] = field(default_factory=dict)
    judge_tokens: int = 64
    prompts: int = 16
    tokens: int = 256
    documents: int | None = 300
    destroyed: list[str] = field(default_factory=lambda: ["mlp_zeroed", "oproj_reinit"])
    seed: int = 0


@dataclass
class RunConfig:
    """One run: the grid of models x variants x tasks (``conf/harness.yaml``).

    Attributes:
        model: name, path or hub id of a base model, or a list of them.
        variants: names of variants, or ``{variant: NAME, KEY: VALUE, name: LABEL}`` for one of its own settings.
        tasks: names of tasks or suites; null takes the model's own suite.
        variant: settings that replace those of every variant that has them.
        task: settings that replace those of every task that has them.
        limit: documents a task (a subject, for MMLU); null for all.
        engine: ``tree`` computes what requests share once; ``hf`` is lm-eval's own backend, the oracle.
        seed: seed of the shots and of sampling.
        seeds: seeds with which each variant that draws or trains is made, once for each; null for its own one.
        baseline: variant that the others are compared with.
        tag: added to the models' names (``lab-base@seed=2``); a multirun sets it for keys that no name shows.
        gates: task -> gate, a `GateConfig`.
        fresh: run cells again that are stored.
        live: show in the terminal what runs where, and what is left; null where a person watches, and not in CI.
        dry_run: print each variant's plan and run nothing.
        export: folder to write each variant to as a plain Hugging Face model; null for none.
        levels: which answers are judged by level, and how.
        delta: settings of the comparison of each model with its donor, tensor by tensor; null for none.
        circuits: settings of the circuits that are looked for in each model; null for none.
        crosscoder: settings of a crosscoder over checkpoints, or over variants of each model; null for none.
        claims: statements of papers that the results are put to, names of ``conf/claim/``, or ``all``; null for none.
        published: blocks of a paper's numbers that are printed beside the measured ones.
        for_model: model -> keys that replace those of the experiment when it runs on that model.
    """

    model: Any = "lab-base"
    variants: Any = field(default_factory=lambda: ["base"])
    tasks: Any = None
    variant: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    engine: str = "tree"
    seed: int = 1234
    seeds: list[int] | None = None
    baseline: str = "base"
    tag: str = ""
    gates: dict[str, Any] = field(default_factory=dict)
    fresh: bool = False
    live: bool | None = None
    dry_run: bool = False
    export: str | None = None
    levels: LevelsConfig = field(default_factory=LevelsConfig)
    delta: Any = None
    circuits: Any = None
    crosscoder: Any = None
    claims: Any = None
    published: list[Any] = field(default_factory=list)
    for_model: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    results: ResultsConfig = field(default_factory=ResultsConfig)
    log: LogConfig = field(default_factory=LogConfig)


@dataclass
class ModelConfig:
    """A base model by name (``conf/models/``).

    Attributes:
        path: folder or hub id.
        revision: hub revision.
        donor: name, path or hub id of the model that ``merge`` variants take from.
        suite: suite that is run when no task is named.
        variant: method -> settings of this model's variants of it; a run's ``variant`` replaces them.
    """

    path: str = MISSING
    revision: str | None = None
    donor: str | None = None
    suite: str = "main"
    variant: dict[str, Any] = field(default_factory=dict)


@dataclass
class TaskConfig:
    """A task (``conf/task/``).

    Attributes:
        lm_eval: lm-eval's name of the task, tag or group (or a list of them).
        folder: where lm-eval's YAML lies, below its ``tasks/``, below ours or absolute. Null scans
            all of lm-eval's tasks, which costs ten seconds a process.
        metric: the score, as lm-eval writes it: ``metric,filter``.
        chance: score of guessing.
        num_fewshot: shots; null takes the task's own number.
        max_gen_toks: tokens generated at most; null takes the task's own limit, else lm-eval's 256.
        generation: other generation settings that replace the task's own.
        repeats: samples drawn for each document.
        pass_k: the k of pass@k.
        cluster: what makes documents alike: ``none``, ``subtask``, or the name of a column.
        scorer: ``lm_eval``, or ``code`` (sandbox) or ``math`` (math-verify) where we own it.
        groups: group -> lm-eval tag or group whose mean is stored beside the score.
        quick: scores choices of few documents: what CI asks on every push (``pytest suites -m quick``).
        training_split: split of the documents that variants learn from; null takes the task's own, if it names one.
        about: one line for people.
    """

    lm_eval: Any = MISSING
    folder: str | None = None
    metric: str = MISSING
    chance: float = 0.0
    num_fewshot: int | None = None
    max_gen_toks: int | None = None
    generation: dict[str, Any] = field(default_factory=dict)
    repeats: int = 1
    pass_k: list[int] = field(default_factory=lambda: [1])
    cluster: str = "none"
    scorer: str = "lm_eval"
    groups: dict[str, str] = field(default_factory=dict)
    quick: bool = False
    training_split: str | None = None
    about: str = ""
