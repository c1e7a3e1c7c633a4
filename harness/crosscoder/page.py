"""The page of a study, block by block."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from tabulate import tabulate

from harness.config.published_crosscoders import PublishedCrosscoders
from harness.crosscoder.choose import Choice, Course
from harness.crosscoder.quality import decoder_cosines, relative_norms
from harness.crosscoder.record import Trained
from harness.crosscoder.relative import UNCLASSED, class_names, class_of
from harness.statistics import Estimate


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table; numbers come as text."""
    return tabulate(rows, head, tablefmt="github", disable_numparse=True).splitlines()


def course_lines(found: Course, choice: Choice | None, measure: str, figure: str) -> list[str]:
    """Accuracy over checkpoints."""
    rows = [[name, *(percent(cells[i]) for cells in found.accuracy.values())] for i, name in enumerate(found.names)]
    head = ["checkpoint", *(f"{group} (n={n})" for group, n in found.items.items())]
    lines = [
        "## The training",
        "",
        "Share of the items whose right continuation is the likelier one, in %, with its 95% interval.",
        "",
    ]
    lines += table(head, rows)
    if choice is not None:
        lines += ["", f"Chosen by rule: {choice.why}."]
    return [*lines, "", f"![accuracy and {measure} over checkpoints]({figure})"]


def quality_lines(trained: Sequence[Trained], names: Sequence[str]) -> list[str]:
    """How well each crosscoder stands for its models."""
    head = ["crosscoder", *(f"EV {n}" for n in names), "L0", "dead %", *(f"ΔCE {n}" for n in names), "recovered %"]
    rows = []
    for one in trained:
        q = one.quality
        rows.append(
            [
                one.label,
                *(f"{v:.3f}" for v in q.explained),
                f"{q.l0:.1f}",
                f"{100 * q.dead:.1f}",
                *(f"{s.increase:+.3f}" for s in q.spliced),
                " / ".join(f"{100 * s.recovered:.1f}" for s in q.spliced),
            ]
        )
    first = trained[0]
    lines = [
        "## The crosscoders",
        "",
        f"On {first.quality.tokens:,} held-out tokens. EV: explained variance; L0: latents on at a token; dead: on at",
        "none; ΔCE: what the reconstruction in the activations' place costs, in nats a token; recovered: what it saves",
        "of what zeros cost.",
        "",
        *table(head, rows),
        "",
        "Clean cross-entropy: "
        + ", ".join(f"{n} {s.clean:.3f}" for n, s in zip(names, first.quality.spliced, strict=True))
        + ".",
        "",
        f"Share of {first.label}'s live latents that another seed finds too (activations correlate by 0.9 or more): "
        + (
            ", ".join(f"{t.label} {100 * t.agreement:.0f}%" for t in trained if t.agreement is not None)
            or "one seed only"
        )
        + ".",
    ]
    return lines


def norm_lines(trained: Sequence[Trained], names: Sequence[str], figure: str) -> list[str]:
    """RelDec: classes of the live latents by their decoder norms, and how alike their directions are."""
    kinds = [c for c in class_names(names) if c != UNCLASSED]
    rows, histograms = [], []
    for one in trained:
        share_KM = relative_norms(one.crosscoder)[one.quality.live_K]
        found = [class_of(share, names) for share in share_KM.tolist()]
        cosine = decoder_cosines(one.crosscoder)[one.quality.live_K]
        pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
        rows.append(
            [
                one.label,
                len(found),
                *(found.count(k) for k in kinds),
                *(f"{float(cosine[:, a, b].median()):.2f}" for a, b in pairs),
            ]
        )
        for m, name in enumerate(names):
            counts = torch.histc(share_KM[:, m], bins=10, min=0, max=1).int().tolist()
            histograms.append([one.label, name, *counts])
    cosines = [f"cos {a}, {b}" for i, a in enumerate(names) for b in names[i + 1 :]]
    bins = [f"{i / 10:.1f}" for i in range(10)]
    return [
        "## Decoder norms (RelDec)",
        "",
        "Live latents by whose decoder norm they have (a share above 0.7: that model's alone; 0.3 or more: shared),",
        "and the median cosine between a latent's directions in two models.",
        "",
        *table(["crosscoder", "live", *kinds, *cosines], rows),
        "",
        "Live latents by the share of each model, from 0.0 in steps of 0.1:",
        "",
        *table(["crosscoder", "model", *bins], histograms),
        "",
        f"![{trained[0].label}: decoder norms]({figure})",
    ]


def published_lines(block: PublishedCrosscoders) -> list[str]:
    """A paper's crosscoders."""
    rows = [
        [
            ", ".join(row.models),
            row.kind,
            "" if row.l0 is None else f"{row.l0:g}",
            "" if row.dead is None else f"{row.dead:g} of {block.latents:,}",
            ", ".join(f"{value:+.2f}" for value in row.increase),
        ]
        for row in block.rows
    ]
    lines = [f"## Published: {block.source}", ""]
    if block.note:
        lines += [block.note, ""]
    return [*lines, *table(["models", "kind", "L0", "dead", "ΔCE"], rows)]


def percent(estimate: Estimate) -> str:
    """A share in % with its interval."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def spread(estimate: Estimate) -> str:
    """A value with its interval."""
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"


def number(value: float) -> str:
    """Two digits, or a word where there is no number."""
    return "none" if math.isnan(value) else f"{value:.2f}"
