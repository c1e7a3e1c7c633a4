"""The page of a study: what is said of one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from harness.crosscoder.analysis import Findings
from harness.crosscoder.flow import Step
from harness.crosscoder.page import number, percent, spread, table
from harness.crosscoder.relative import UNCLASSED, Relative, class_names, shared_from


def task_lines(found: Findings, names: Sequence[str]) -> list[str]:
    """The task in each model and what effects say there."""
    rows = [
        [
            m.name,
            percent(m.accuracy),
            spread(m.difference),
            f"{m.latents:+.2f}",
            f"{m.error:+.2f}",
            f"{100 * m.gap:+.0f}",
            f"{m.integrated:.2f} / {m.gradient:.2f}",
            f"{m.joint:+.2f} / {m.alone:+.2f}",
        ]
        for m in found.models
    ]
    head = [
        "model",
        "right %",
        "D",
        "Σ latents",
        "error",
        "gap %",
        "r with exact: IG / grad x act",
        "strongest out: together / sum alone",
    ]
    out = found.items.left_out
    asked = f"{len(found.items)} items" + (
        f"; left out: {', '.join(f'{n} {r}' for r, n in out.items())}" if out else ""
    )
    lines = [
        f"{asked}. D: logit of the right continuation less that of the wrong one, mean over items. Σ latents and",
        "error: summed effects (integrated gradients) of the latents and of what the crosscoder misses; gap:",
        "what they leave unexplained of D less D with an empty code. r: correlation with exact effects over the "
        f"{len(found.study)} strongest latents of any model.",
        "",
        *table(head, rows),
    ]
    if found.validity:
        lines += [
            "",
            "Do RelIE and RelDec order latents as ablation does? Spearman's correlation with the later model's share",
            f"of the exact effects, over these {len(found.study)} latents:",
            "",
            *table(
                ["models", "RelIE", "RelDec"],
                [[f"{v.begin}, {v.end}", number(v.relative_effect), number(v.relative_norm)] for v in found.validity],
            ),
        ]
    return lines


def class_lines(found: Findings, null: Relative | None, names: Sequence[str]) -> list[str]:
    """Classes of latents by RelIE, beside those of the null."""
    told = found.relative
    rows = []
    for kind in class_names(names):
        chosen = [k for k, c in enumerate(told.classes) if c == kind]
        sure = sum(float(told.certainty_K[k]) >= 0.95 for k in chosen)
        effect = [f"{float(told.effect_KM[chosen, m].sum()):+.2f}" for m in range(len(names))]
        if not chosen and len(names) > 3 and (null is None or kind not in null.classes):
            continue  # of many models there are many classes
        null_count = "" if null is None else null.classes.count(kind)
        rows.append([kind, len(chosen), "" if kind == UNCLASSED else sure, null_count, *effect])
    head = ["class", "latents", "sure", "in the null", *(f"Σ effect {n}" for n in names)]
    return [
        "### Classes by RelIE",
        "",
        f"Classed: an effect somewhere that is resolved from 0 and at least {told.floor:.4f} (the floor); sure: the",
        "same class in 95% of the resamples. The null has one model in every place; it cannot tell what another seed",
        "would find, which the share of latents found again does.",
        "",
        *table(head, rows),
    ]


def flow_lines(steps: Sequence[Step]) -> list[str]:
    """What emerges, stays and is lost."""
    rows = [
        [
            f"{s.begin} → {s.end}",
            s.emerged,
            s.stayed,
            s.lost,
            f"{s.emerged_effect:.2f}",
            f"{s.stayed_effect:.2f}",
            f"{s.lost_effect:.2f}",
        ]
        for s in steps
    ]
    head = ["step", "emerged", "stayed", "lost", "size emerged", "size stayed", "size lost"]
    return [
        "### From model to model",
        "",
        f"Latents at work in a model: RelIE there at least {shared_from(len(steps) + 1):.2g}. Size: of their effects,",
        "summed; in the later model, but of those that are lost in the earlier.",
        "",
        *table(head, rows),
    ]


def ablation_lines(found: Findings, top: int, draws: int, mean: bool) -> list[str]:
    """Classes taken out together, against controls."""
    rows = []
    for kind, cells in found.ablations.items():
        for cell in cells:
            controls = torch.tensor(cell.control_losses)
            accuracy = torch.tensor(cell.control_accuracies)
            rows.append(
                [
                    kind,
                    len(cell.latents),
                    cell.model,
                    spread(cell.loss),
                    _range(controls, 1.0),
                    number(cell.p),
                    f"{100 * cell.before:.1f} → {percent(cell.accuracy)}",
                    _range(100 * accuracy, 0.1),
                ]
            )
    head = ["class", "latents", "in", "D lost", "controls", "p", "right %", "controls %"]
    how = "set to their mean" if mean else "set to zero"
    return (
        [
            "### Classes taken out",
            "",
            f"The {top} strongest latents of each class, {how} together at every position, in every model. Controls:",
            f"as many live latents, about as active as these, drawn {draws} times; median and 5% to 95% range; p:",
            f"share of these and the set itself that lose or gain at least as much, so 1/{draws + 1} at least.",
            "",
            *table(head, rows),
        ]
        if rows
        else ["### Classes taken out", "", "No latent is classed, so none was taken out."]
    )


def top_lines(found: Findings, names: Sequence[str], links: Mapping[int, str]) -> list[str]:
    """The strongest latents."""
    told = found.relative
    order = sorted(found.study, key=lambda i: -float(told.effect_KM[i].abs().max()))
    place = {latent: s for s, latent in enumerate(found.study)}
    rows = [
        [
            f"[{i}]({links[i]})" if i in links else i,
            told.classes[i],
            f"{100 * float(told.certainty_K[i]):.0f}",
            *(f"{float(told.share_KM[i, m]):.2f}" for m in range(len(names))),
            *(
                f"{float(told.effect_KM[i, m]):+.3f} ({float(found.exact_SM[place[i], m]):+.3f})"
                for m in range(len(names))
            ),
        ]
        for i in order
    ]
    head = ["latent", "class", "sure %", *(f"RelIE {n}" for n in names), *(f"effect {n} (exact)" for n in names)]
    return ["### The strongest latents", "", *table(head, rows)]


def _range(values: Tensor, unit: float) -> str:
    if not len(values):
        return "none"
    low, middle, high = torch.quantile(values.double(), torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)).tolist()
    digits = 2 if unit == 1.0 else 1
    sign = "+" if unit == 1.0 else ""
    return f"{middle:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
