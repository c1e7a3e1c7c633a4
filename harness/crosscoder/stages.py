"""The stages of a study: crosscoders trained, looked at, taken apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.config.crosscoder import StudyConfig
from harness.crosscoder.analysis import Findings, analyse
from harness.crosscoder.asked import items_of, skips_first
from harness.crosscoder.buffer import ActivationBuffer
from harness.crosscoder.choose import Choice, Course
from harness.crosscoder.crosscoder import Crosscoder
from harness.crosscoder.items import Items
from harness.crosscoder.lineup import Lineup, Member
from harness.crosscoder.quality import agreement, codes, quality
from harness.crosscoder.readings import Readings, read_all
from harness.crosscoder.record import Results, Trained
from harness.crosscoder.state import STATE, WEIGHTS, load_crosscoder, save_crosscoder
from harness.crosscoder.tokens import sinks_of, skip, stacked, take, text_identity, texts_of, token_rows
from harness.crosscoder.train import new_training
from harness.loading import device_of

# Tokens over which activations of two seeds' latents are correlated.
AGREED = 16_384


class Study:
    """One study, stage by stage.

    Args:
        config: settings.
        lineup: the models that share the crosscoder.
        found: the training that they are of, where it was followed.
        choice: how they were chosen, if by rule.
        say: is told what goes on, line by line.
    """

    def __init__(
        self,
        config: StudyConfig,
        lineup: Lineup,
        found: Course | None,
        choice: Choice | None,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.lineup, self._course, self._choice, self._say = config, lineup, found, choice, say
        self._texts = texts_of(config.text)
        self._sinks = sinks_of(lineup.tokenizer)
        self._first = skips_first(config.text.skip_first, lineup.tokenizer)
        self._held: list[Tensor] | None = None

    def run(self) -> Results:
        """Trains what is not trained yet and looks at it.

        Raises:
            ValueError: for a text or a task that does not fit the models.
        """
        config, lineup = self.config, self.lineup
        items = {task: items_of(task, config.pairs, lineup.tokenizer, self._first) for task in config.pairs.tasks}
        held_out = self._held_out(lineup)
        trained: list[Trained] = []
        first_NK = None
        wanted = [(f"seed-{seed}", seed) for seed in config.seeds]
        for (_, seed), (crosscoder, seconds) in zip(wanted, self._trained(lineup, wanted), strict=True):
            seen = quality(crosscoder, lineup, held_out)
            code_NK = codes(crosscoder, held_out.x_NMD[:AGREED])
            share = None
            if first_NK is None:
                first_NK = code_NK
            else:
                share = agreement(first_NK, code_NK, (trained[0].quality.live_K, seen.live_K))
            trained.append(Trained(f"seed {seed}", crosscoder, seen, seconds, share))
            explained = ", ".join(f"{v:.3f}" for v in seen.explained)
            self._say(f"seed {seed}: explained variance {explained}, L0 {seen.l0:.1f}, {seconds:.0f} s")
        findings = {task: self._analyse(trained[0].crosscoder, lineup, asked) for task, asked in items.items()}
        null = None
        if config.null:
            same = self.null_lineup()
            ((crosscoder, seconds),) = self._trained(same, [("null", config.seeds[0])])
            seen = quality(crosscoder, same, self._held_out(same))
            null = {task: self._analyse(crosscoder, same, asked, whole=False) for task, asked in items.items()}
            trained.append(
                Trained(f"null: {lineup.letters[self._null_at]} in every place", crosscoder, seen, seconds, None)
            )
            self._say(f"null: explained variance {seen.explained[0]:.3f}, L0 {seen.l0:.1f}, {seconds:.0f} s")
        return Results(config, lineup, self._course, self._choice, trained, findings, null, held_out)

    @property
    def _null_at(self) -> int:
        return 0 if any(m.patch is not None for m in self.lineup.members) else len(self.lineup.members) - 1

    def null_lineup(self) -> Lineup:
        """One model in every place: the last checkpoint, or the first variant, which is the base as a rule."""
        one = self.lineup.members[self._null_at]
        copies = [Member(f"{one.name}#{i + 1}", one.load, one.patch) for i in range(len(self.lineup.members))]
        return Lineup(copies, self.lineup.layer)

    def _trained(self, lineup: Lineup, wanted: Sequence[tuple[str, int]]) -> Iterator[tuple[Crosscoder, float]]:
        """Crosscoders of these settings, and the seconds each took; all of them read one buffer.

        Each is read if it is there, gone on with if it was stopped, else trained.
        """
        buffer = None
        try:
            for name, seed in wanted:
                folder = Path(self.config.out) / "crosscoders" / name
                made = self._made(lineup, seed)
                if (folder / WEIGHTS).is_file():
                    yield self._read(folder, made)
                    continue
                if buffer is None:
                    batch, passes = self.config.training.batch, self.config.buffer.passes
                    tokens = max(self.config.training.tokens, batch * passes)  # a round holds a batch at least
                    place = Path(self.config.out)
                    buffer = ActivationBuffer(
                        lineup, self._rows, self.config.buffer, self._sinks, self._first, seed, tokens, place
                    )
                else:
                    buffer.restart(seed)
                yield self._train(lineup, buffer, seed, folder, made)
        finally:
            if buffer is not None:
                buffer.close()

    def _made(self, lineup: Lineup, seed: int) -> dict[str, Any]:
        """What a crosscoder's weights depend on."""
        config = self.config
        parts = {part: asdict(getattr(config, part)) for part in ("text", "buffer", "training")}
        for part, key in (("training", "seed"), ("training", "save_every")):
            parts[part].pop(key)
        held_out = config.analysis.held_out
        text = text_identity(config.text)
        made = {
            "models": lineup.identities,
            "text_files": text,
            "layer": lineup.layer,
            "seed": seed,
            "held_out": held_out,
            **parts,
        }
        return json.loads(json.dumps(made))  # as it comes back from a file

    def _read(self, folder: Path, made: Mapping[str, Any]) -> tuple[Crosscoder, float]:
        crosscoder, record = load_crosscoder(folder / WEIGHTS)
        crosscoder.to(device_of(self.config.device))
        if record["made"] != made:
            raise ValueError(f"{folder} holds a crosscoder of other settings or models; remove it or take another out")
        self._say(f"{folder.name}: trained already")
        return crosscoder, record["seconds"]

    def _train(
        self, lineup: Lineup, buffer: ActivationBuffer, seed: int, folder: Path, made: Mapping[str, Any]
    ) -> tuple[Crosscoder, float]:
        config = replace(self.config.training, seed=seed)
        device = device_of(self.config.device)
        training = new_training(buffer, len(lineup.members), lineup.width, config, made, folder, device)
        training.begin()
        if training.step:
            self._say(f"{folder.name}: going on at step {training.step} of {training.schedule.steps}")
        training.run(progress=self.config.progress)
        crosscoder = training.finish()
        record = {
            "made": made,
            "names": list(lineup.names),
            "steps": training.step,
            "seconds": training.seconds,
            "dropped_outliers": buffer.dropped,
            "log": training.log,
            "torch": torch.__version__,
        }
        save_crosscoder(crosscoder, folder / WEIGHTS, record)
        (folder / STATE).unlink(missing_ok=True)
        return crosscoder, training.seconds

    def _rows(self) -> Iterator[Tensor]:
        """Rows of the training: those of the text behind the held-out ones."""
        rows = token_rows(self._texts, self.lineup.tokenizer, self.config.text)
        skip(rows, len(self._held_rows))
        return rows

    @property
    def _held_rows(self) -> list[Tensor]:
        """The first rows of the text."""
        if self._held is None:
            rows = token_rows(self._texts, self.lineup.tokenizer, self.config.text)
            self._held = take(rows, self.config.analysis.held_out)
            if not self._held:
                raise ValueError("the text gave no tokens: text.shortest may be too long, or the file empty")
        return self._held

    def _held_out(self, lineup: Lineup) -> Readings:
        rows = stacked(sorted(self._held_rows, key=len), self._sinks, self._first)
        return read_all(lineup, rows, self.config.buffer.batch_tokens)

    def _analyse(self, crosscoder: Crosscoder, lineup: Lineup, items: Items, whole: bool = True) -> Findings:
        readings = read_all(lineup, items.rows, self.config.buffer.batch_tokens)
        return analyse(crosscoder, lineup, items, readings, self.config.analysis, whole)
