"""How fast, how sparse and how wide a crosscoder is at each step of its training."""

from __future__ import annotations

from dataclasses import dataclass

from harness.config.crosscoder import TrainingConfig

# Shares of the steps: the released code's.
RISE, FALL = 0.05, 0.2
DECODER_NORMS = {"l1": 0.08, "batch_topk": 1.0}
WAKES = {"l1": "resample", "batch_topk": "auxiliary"}
# Dead latents are made new at these shares of the steps, and then have time to learn.
RESAMPLED_AT = (0.2, 0.4, 0.6)


@dataclass(frozen=True)
class Schedule:
    """A training's settings, filled in and told step by step.

    Attributes:
        config: as given.
        steps: in all.
        window: steps without firing after which a latent is dead.
        decoder_norm: norm of a latent's first direction.
        wakes: ``resample``, ``auxiliary`` or ``none``.
    """

    config: TrainingConfig
    steps: int
    window: int
    decoder_norm: float
    wakes: str

    @classmethod
    def of(cls, config: TrainingConfig) -> Schedule:
        """Checks and fills in a config.

        Raises:
            ValueError: for settings that cannot be.
        """
        if config.kind not in DECODER_NORMS:
            raise ValueError(f"training.kind={config.kind!r}; known: {', '.join(DECODER_NORMS)}")
        if config.dead not in ("auto", "resample", "auxiliary", "none"):
            raise ValueError(f"training.dead={config.dead!r}: expected auto, resample, auxiliary or none")
        for name in ("latents", "tokens", "batch", "rate", "clip"):
            if getattr(config, name) <= 0:
                raise ValueError(f"training.{name}={getattr(config, name)}: expected more than 0")
        if config.l1 < 0 or config.auxiliary < 0 or config.save_every < 0 or not 0 < config.window <= 1:
            raise ValueError(
                f"training: l1={config.l1:g}, auxiliary={config.auxiliary:g} and save_every={config.save_every} "
                f"are at least 0, window={config.window:g} is a share of the steps"
            )
        if config.kind == "batch_topk" and not 1 <= config.k <= config.latents:
            raise ValueError(f"training.k={config.k} of {config.latents} latents: expected 1 to {config.latents}")
        if config.decoder_norm is not None and config.decoder_norm <= 0:
            raise ValueError(f"training.decoder_norm={config.decoder_norm:g}: expected more than 0")
        if config.seed < 0:
            raise ValueError(f"training.seed={config.seed}: expected at least 0")
        if config.kind == "batch_topk" and config.k_start is not None and config.k_start < config.k:
            raise ValueError(f"training.k_start={config.k_start} is less than k={config.k}; it falls to k")
        steps = config.tokens // config.batch
        if steps < 1:
            raise ValueError(f"training.tokens={config.tokens} is less than one batch of {config.batch}")
        norm = DECODER_NORMS[config.kind] if config.decoder_norm is None else config.decoder_norm
        wakes = WAKES[config.kind] if config.dead == "auto" else config.dead
        return cls(config, steps, max(1, round(config.window * steps)), norm, wakes)

    def rate(self, step: int) -> float:
        """Learning rate."""
        left = (self.steps - step) / max(1.0, FALL * self.steps)
        return self.config.rate * min(1.0, left)

    def l1(self, step: int) -> float:
        """Factor of the sparsity term."""
        return self.config.l1 * min(1.0, step / max(1.0, RISE * self.steps))

    def k(self, step: int) -> int:
        """Latents that a token keeps on average."""
        config = self.config
        start = min(config.latents, 5 * config.k if config.k_start is None else config.k_start)
        gone = min(1.0, step / max(1.0, RISE * self.steps))
        return round(start + gone * (config.k - start))

    def resamples(self, step: int) -> bool:
        """Dead latents are made new before this step."""
        return self.wakes == "resample" and step in {round(share * self.steps) for share in RESAMPLED_AT} - {0}
