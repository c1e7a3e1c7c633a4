"""A study on the disk: the page, its numbers as JSON, figures, and a page for each latent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.crosscoder.analysis import Findings
from harness.crosscoder.asked import task_folder
from harness.crosscoder.contexts import contexts, writes
from harness.crosscoder.figures import draw_course, draw_flow, draw_norms, draw_relative
from harness.crosscoder.flow import flow
from harness.crosscoder.html import InModel, LatentPage, file_of, write_pages
from harness.crosscoder.page import course_lines, norm_lines, published_lines, quality_lines
from harness.crosscoder.quality import decoder_cosines, relative_norms
from harness.crosscoder.record import Results
from harness.crosscoder.relative import class_names, pairwise
from harness.crosscoder.task_page import ablation_lines, class_lines, flow_lines, task_lines, top_lines
from harness.figures import save_figures
from harness.files import write_text

PAGE, RECORD = "crosscoder.md", "crosscoder.json"


def write(results: Results, folder: Path) -> Path:
    """Writes everything; the page comes last.

    Returns:
        The page.

    Raises:
        ValueError: if matplotlib is not installed.
    """
    names, config = results.lineup.letters, results.config
    blocks = [_head(results)]
    if results.course is not None:
        found, choice, measure = results.course, results.choice, config.measure
        save_figures(folder, {"course": lambda: draw_course(found, choice, measure)})
        blocks.append(course_lines(found, choice, measure, "course.png"))
    shares = relative_norms(results.trained[0].crosscoder)[results.trained[0].quality.live_K]
    save_figures(folder, {"norms": lambda: draw_norms(shares, names)})
    blocks += [quality_lines(results.trained, names), norm_lines(results.trained, names, "norms.png")]
    for task, findings in results.tasks.items():
        blocks += _task(results, task, findings, folder)
    blocks += [published_lines(block) for block in config.published]
    write_text(folder / RECORD, json.dumps(record(results), indent=1) + "\n")
    write_text(folder / PAGE, "\n\n".join("\n".join(block) for block in blocks) + "\n")
    return folder / PAGE


def _head(results: Results) -> list[str]:
    config, lineup = results.config, results.lineup
    training, shape = config.training, results.trained[0].crosscoder.shape
    sparsity = f"l1 {training.l1:g}" if shape.kind == "l1" else f"k {training.k}"
    models = [
        f"- **{letter}**: {name}, weights `{identity[:12]}`"
        for letter, name, identity in zip(lineup.letters, lineup.names, lineup.identities, strict=True)
    ]
    return [
        f"# {', '.join(lineup.names)} through one crosscoder",
        "",
        f"Output of layer {lineup.layer} of {lineup.n_layers}, {lineup.width} wide; {shape.latents} latents, "
        f"{shape.kind}, {sparsity}; {training.tokens:,} tokens a crosscoder, text: "
        f"{config.text.path or config.text.source}.",
        f"Seeds {', '.join(map(str, config.seeds))}; "
        f"{', '.join(f'{t.label} {t.seconds:.0f} s' for t in results.trained)}.",
        "",
        *models,
    ]


def _who(results: Results) -> str:
    """Which model each letter is."""
    return ", ".join(f"{a} = {name}" for a, name in zip(results.lineup.letters, results.lineup.names, strict=True))


def _task(results: Results, task: str, found: Findings, folder: Path) -> list[list[str]]:
    names, config = results.lineup.letters, results.config
    own = task_folder(task)
    steps = flow(found.relative, names)
    figures = {"relative": lambda: draw_relative(found.relative, names)}
    if steps:
        figures["flow"] = lambda: draw_flow(steps, names)
    save_figures(folder / own, figures)
    pages = _pages(results, task, found)
    write_pages(folder / own / "latents", pages, f"{_who(results)}; {task}")
    links = {page.latent: f"{own}/latents/{file_of(page.latent)}" for page in pages}
    null = results.null[task].relative if results.null is not None else None
    blocks = [
        [f"## {task}", "", *task_lines(found, names)],
        [*class_lines(found, null, names), "", f"![RelIE]({own}/relative.png)"],
    ]
    if steps:
        blocks.append([*flow_lines(steps), "", f"![from model to model]({own}/flow.png)"])
    blocks.append(ablation_lines(found, config.analysis.top, config.analysis.controls, config.analysis.mean))
    blocks.append(
        [*top_lines(found, names, links), "", f"All pages: [{own}/latents/index.html]({own}/latents/index.html)"]
    )
    return blocks


def _pages(results: Results, task: str, found: Findings) -> list[LatentPage]:
    """Pages of the study set and of the strongest of each class."""
    told, lineup, first = found.relative, results.lineup, results.trained[0]
    names, top = lineup.letters, results.config.analysis.top
    chosen = list(found.study)
    for kind in class_names(names)[:-1]:
        chosen += [i for i in told.of_class(kind)[:top] if i not in chosen]
    chosen.sort(key=lambda i: -float(told.effect_KM[i].abs().max()))
    if not chosen:
        return []
    texts = contexts(first.crosscoder, lineup, results.held_out, chosen, results.config.analysis.contexts)
    written = writes(first.crosscoder, lineup, chosen)
    norms, cosines = relative_norms(first.crosscoder), decoder_cosines(first.crosscoder)
    place = {latent: s for s, latent in enumerate(found.study)}
    shares = pairwise(told.share_KM)
    pages = []
    for j, i in enumerate(chosen):
        models = [
            InModel(
                model=name,
                share=tuple(float(t[i, m]) for t in (told.share_KM, told.share_low_KM, told.share_high_KM)),  # type: ignore[arg-type] # three of them
                effect=tuple(float(t[i, m]) for t in (told.effect_KM, told.low_KM, told.high_KM)),  # type: ignore[arg-type] # three of them
                exact=float(found.exact_SM[place[i], m]) if i in place else None,
                norm_share=float(norms[i, m]),
                writes=written[m][j],
            )
            for m, name in enumerate(names)
        ]
        pages.append(
            LatentPage(
                latent=i,
                kind=told.classes[i],
                certainty=float(told.certainty_K[i]),
                rate=float(first.quality.rate_K[i]),
                mean=float(first.quality.mean_K[i]),
                cosines={
                    f"{a}, {b}": float(cosines[i, m, n])
                    for m, a in enumerate(names)
                    for n, b in enumerate(names)
                    if m < n
                },
                pairs={f"{names[b]} of {names[a]} and {names[b]}": float(share[i]) for (a, b), share in shares.items()},
                models=models,
                contexts=texts[j],
            )
        )
    return pages


def record(results: Results) -> dict[str, Any]:
    """Everything that the page says, as numbers."""
    out: dict[str, Any] = {
        "format": 1,
        "config": asdict(results.config),
        "models": dict(zip(results.lineup.names, results.lineup.identities, strict=True)),
        "layer": results.lineup.layer,
        "crosscoders": [
            {"label": t.label, "seconds": t.seconds, "agreement": t.agreement, **t.quality.record()}
            for t in results.trained
        ],
        "tasks": {task: _numbers(found, results.lineup.letters) for task, found in results.tasks.items()},
    }
    if results.course is not None:
        out["course"] = {
            "checkpoints": list(results.course.names),
            "accuracy": {g: [asdict(c) for c in cells] for g, cells in results.course.accuracy.items()},
            "likeness": {k: v.tolist() for k, v in results.course.likeness.items()},
        }
    if results.choice is not None:
        out["choice"] = asdict(results.choice)
    if results.null is not None:
        out["null"] = {task: _classes(found) for task, found in results.null.items()}
    return out


def _classes(found: Findings) -> dict[str, int]:
    told = found.relative.classes
    return {kind: told.count(kind) for kind in sorted(set(told))}


def _numbers(found: Findings, names: tuple[str, ...]) -> Mapping[str, Any]:
    told = found.relative
    pairs = {f"{names[a]},{names[b]}": share_K for (a, b), share_K in pairwise(told.share_KM).items()}
    classed = [i for i, kind in enumerate(told.classes) if kind != "unclassed" or i in found.study]
    return {
        "items": len(found.items),
        "left_out": found.items.left_out,
        "floor": told.floor,
        "models": [asdict(m) for m in found.models],
        "classes": _classes(found),
        "flow": [asdict(s) for s in flow(told, names)],
        "validity": [asdict(v) for v in found.validity],
        "ablations": {k: [{**asdict(c), "p": c.p} for c in cells] for k, cells in found.ablations.items()},
        "latents": {
            str(i): {
                "class": told.classes[i],
                "certainty": float(told.certainty_K[i]),
                "share": told.share_KM[i].tolist(),
                "share_of_pairs": {pair: float(share_K[i]) for pair, share_K in pairs.items()},
                "effect": told.effect_KM[i].tolist(),
                "low": told.low_KM[i].tolist(),
                "high": told.high_KM[i].tolist(),
            }
            for i in classed
        },
    }
