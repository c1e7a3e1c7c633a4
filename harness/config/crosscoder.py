"""How a crosscoder is trained and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.config.published_crosscoders import PublishedCrosscoders


@dataclass
class TextConfig:
    """The text that all models read.

    Attributes:
        source: ``lab`` (the lab models' training text, endless), ``file`` (of your own) or ``hub``.
        path: a file or folder, or a data set's id.
        name: configuration of the data set.
        split: split of the data set.
        column: where the text is.
        packed: texts one after the other in rows of ``length``; else a row a text.
        length: tokens of the longest row.
        shortest: tokens of the shortest text that is used, for rows of texts.
        skip_first: leave out the first position: ``auto`` does where the tokenizer puts no token before a text.
        seed: of the lab's stream.
    """

    source: str = "lab"
    path: str | None = None
    name: str | None = None
    split: str = "train"
    column: str = "text"
    packed: bool = False
    length: int = 192
    shortest: int = 2
    skip_first: str = "auto"
    seed: int = 7


@dataclass
class BufferConfig:
    """Where activations wait.

    Attributes:
        megabytes: memory (or disk) that they may take.
        storage: ``memory``, or ``disk`` for a memory-mapped file that goes when the training ends.
        dtype: of the stored activations: ``float32``, ``bfloat16`` or ``float16``.
        passes: how often a filled buffer is gone through before it is filled anew.
        batch_tokens: tokens that a model reads at a time.
        outlier: a token is dropped where a model's norm is more than this many times its median.
    """

    megabytes: int = 512
    storage: str = "memory"
    dtype: str = "float32"
    passes: int = 1
    batch_tokens: int = 8192
    outlier: float = 10.0


@dataclass
class TrainingConfig:
    """How the weights are found.

    Attributes:
        kind: ``l1`` or ``batch_topk``.
        latents: of the code.
        tokens: tokens that are trained on, passes included.
        batch: tokens of a step.
        rate: Adam's learning rate; falls to 0 over the last fifth.
        l1: factor of the sparsity term; rises from 0 over the first twentieth.
        k: latents a token has on average (``batch_topk``).
        k_start: the same at the start; falls to ``k`` over the first twentieth. Null for five times ``k``.
        decoder_norm: norm of a latent's first direction; null for 0.08 (``l1``) or 1 (``batch_topk``).
        dead: what wakes latents that never fire: ``resample``, ``auxiliary``, ``none``, or ``auto``: the first for
            ``l1``, the second for ``batch_topk``.
        window: share of the steps without firing after which a latent is dead.
        auxiliary: factor of the term for dead latents.
        clip: largest norm of a gradient.
        save_every: steps between two saved states; 0 for the end only.
        seed: draws first weights, the order of tokens, and what dead latents become.
        tf32: let a GPU multiply in TF32; weights and optimiser stay fp32.
    """

    kind: str = "l1"
    latents: int = 512
    tokens: int = 2_000_000
    batch: int = 1024
    rate: float = 1e-3
    l1: float = 2.0
    k: int = 32
    k_start: int | None = None
    decoder_norm: float | None = None
    dead: str = "auto"
    window: float = 0.05
    auxiliary: float = 1 / 32
    clip: float = 1.0
    save_every: int = 0
    seed: int = 0
    tf32: bool = True


@dataclass
class CrosscoderConfig:
    """One crosscoder.

    Attributes:
        layer: whose output is read; null for the middle one.
        text: what is read.
        buffer: where activations wait.
        training: how the weights are found.
    """

    layer: int | None = None
    text: TextConfig = field(default_factory=TextConfig)
    buffer: BufferConfig = field(default_factory=BufferConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass
class PairsConfig:
    """What the models are asked.

    Attributes:
        tasks: ``lab:NAME`` for the lab's own sentences (``agreement``, ``ioi``, ``pronoun``, ...), else a file or
            folder of minimal pairs; see `harness.crosscoder.pair_files`.
        groups: kinds of pairs that are used; empty for all.
        most: pairs of a kind, drawn; null for all.
        seed: draws them.
    """

    tasks: list[str] = field(default_factory=lambda: ["lab:agreement"])
    groups: list[str] = field(default_factory=list)
    most: int | None = 400
    seed: int = 0


@dataclass
class AnalysisConfig:
    """What is asked of a trained crosscoder.

    Attributes:
        held_out: tokens that it is looked at on; the text behind those of the training.
        steps: gradients that integrated gradients take.
        least: effects at one position that are not larger count as 0; the paper's scripts take 0.1.
        floor: smallest effect of a latent that is classed, as a share of the largest of any latent.
        resamples: of the bootstrap over items.
        top: latents of a model (and of a class) that are looked at one by one.
        controls: drawn sets that each ablation is compared with.
        mean: ablate to means, not to zero, in the ablations of classes.
        contexts: texts that a latent's page shows.
        seed: of bootstrap and controls.
    """

    held_out: int = 32768
    steps: int = 10
    least: float = 0.0
    floor: float = 0.02
    resamples: int = 1000
    top: int = 10
    controls: int = 50
    mean: bool = False
    contexts: int = 20
    seed: int = 0


@dataclass
class StudyConfig(CrosscoderConfig):
    """A study of several models through one crosscoder.

    Attributes:
        models: checkpoints (name, folder, hub id, hub id@revision) or variants of one base, in order; empty takes three
            of ``checkpoints`` by rule.
        checkpoints: a training's checkpoints in order, over which the tasks' accuracy is followed.
        measure: how alike two checkpoints are, where the rule needs it: ``cka`` or ``cosine``.
        pairs: what the models are asked.
        analysis: what is asked of the crosscoder.
        seeds: of the crosscoders; the first is taken apart, the others say how much of it a second one finds too.
        null: train one more on the last model (the first variant) in every place: nothing in it is specific.
        resident: keep all models in memory; else each is loaded when it is read.
        device: torch device; ``auto`` takes a GPU if there is one.
        dtype: of the models' weights.
        out: folder of the page.
        progress: show a bar.
        published: blocks of a paper's numbers that stand at the page's end.
    """

    models: list[str] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    measure: str = "cka"
    pairs: PairsConfig = field(default_factory=PairsConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    null: bool = True
    resident: bool = True
    device: str = "auto"
    dtype: str = "float32"
    out: str = "results/crosscoder"
    progress: bool = True
    published: list[PublishedCrosscoders] = field(default_factory=list)
