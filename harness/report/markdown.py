"""The table as Markdown: scores and differences to read, then every number behind them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from harness.report.adaptation import LEAKY, adaptation
from harness.report.circuits import circuits
from harness.report.lines import line
from harness.report.rows import Entry, Row, Table
from harness.report.stages import stages
from harness.statistics import Estimate

_COLUMNS = (
    "Gained and lost: documents that got better and worse. Resolvable: the smallest difference that these data would "
    "show with 80% power at the 5% level. Clipped: prompts cut to the context and generation limits lowered to it."
)
_SEEDS = (
    " Where a variant was trained with several seeds, its score is their mean, each seed's stands below it, and "
    "intervals and tests take both documents and seeds for samples."
)
_NOISE = (
    " Noise: the base asked again in other batches, or with other draws where texts are sampled; what it gains and "
    "loses (below, under every number) is what numerics and draws alone change."
)
MARKS = {"gain": " ▲", "regression": " ▼", "unresolved": "", "baseline": "", "none": ""}


def percent(value: float) -> str:
    """``0.953`` as ``95.3``."""
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """``-0.02`` as ``-2.0``, with its sign; a true minus is not used, so that text can be searched."""
    return f"{100 * value:+.1f}"


def interval(estimate: Estimate, show: object = percent) -> str:
    """``[low, high]``."""
    assert callable(show)
    return f"[{show(estimate.low)}, {show(estimate.high)}]"


def p_value(p: float | None) -> str:
    """Short p-value."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def render(table: Table, claims: Sequence[str] = ()) -> str:
    """The whole page; ``claims`` are the lines of the claims' section."""
    parts = ["# Results", "", _legend(table), ""]
    for model in table.models:
        parts += [f"## {model}", "", *_scores(table, model), ""]
    parts += claims
    parts += adaptation(table)
    parts += stages(table)
    parts += circuits(table)
    parts += ["## Every number", "", _COLUMNS, "", *_details(table), "", *_groups(table), *_footer(table)]
    return "\n".join(parts) + "\n"


def brief(table: Table) -> list[str]:
    """The legend and the scores alone."""
    lines = ["## Results", "", _legend(table), ""]
    for model in table.models:
        lines += [f"### {model}", "", *_scores(table, model), ""]
    return lines


def _legend(table: Table) -> str:
    pooled = any(e.seeds for row in table.rows for e in row.entries.values())
    noise = any(e.result.identity.get("noise") for row in table.rows for e in row.entries.values())
    return (
        f"Scores in percent with their 95% interval. Δ: difference to `{table.baseline}` on the same documents, in "
        f"points, with its paired 95% interval{table.method.interval_words}; ▲ resolved gain, ▼ resolved regression "
        f"({table.method.adjusted_words} p < 0.05 over the "
        f"{table.comparisons} comparisons of this page, and an interval without 0, which is not adjusted); no mark: "
        'unresolved, which does not mean unchanged. "= chance": the interval reaches down to guessing.'
        + (_SEEDS if pooled else "")
        + (_NOISE if noise else "")
    )


def _scores(table: Table, model: str) -> list[str]:
    rows = [r for r in table.rows if r.model == model]
    tasks = [t for t in table.tasks if any(t in r.entries or t in r.failures for r in rows)]
    heads = []
    for task in tasks:
        results = [r.entries[task].result for r in rows if task in r.entries]
        if not results:
            heads.append(task)
            continue
        sizes = sorted({r.n for r in results})
        n = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        heads.append(f"{task}<br>n={n}, chance {percent(results[0].chance)}")
    lines = [line(["variant", "parameters touched", *heads]), line(["---", "---:", *["---:"] * len(tasks)])]
    chances = [next((r.entries[t].result.chance for r in rows if t in r.entries), 0.0) for t in tasks]
    if any(chances):
        lines.append(line(["chance", "", *map(percent, chances)]))
    for row in rows:
        cells = [_score(row.entries[task]) if task in row.entries else row.absent(task) for task in tasks]
        lines.append(line([named(row), row.touched, *cells]))
    return [*lines, *_across(rows, tasks)]


def _across(rows: Sequence[Row], tasks: Sequence[str]) -> list[str]:
    """Variants that gain on one task and lose on another, or are left at chance."""
    out = []
    for row in rows:
        found = {task: row.entries[task] for task in tasks if task in row.entries}
        gained, lost = ([t for t, e in found.items() if e.verdict == v] for v in ("gain", "regression"))
        guessing = [t for t, e in found.items() if e.at_chance]
        losses = [f"loses on {', '.join(lost)}"] if lost else []
        losses += [f"is at chance on {', '.join(guessing)}"] if guessing else []
        if gained and losses:
            out.append(f"- `{row.variant}` gains on {', '.join(gained)}, and {' and '.join(losses)}.")
    return ["", *out] if out else []


def named(row: Row) -> str:
    """A variant's name, with a mark where its scores cannot be compared."""
    counts = sorted({len(e.seeds) for e in row.entries.values() if e.seeds})
    seeds = f"<br>{' or '.join(map(str, counts))} seeds" if counts else ""
    return f"`{row.variant}`" + seeds + (f"<br>{LEAKY}" if row.leaky else "")


def _score(entry: Entry) -> str:
    text = f"**{percent(entry.score.value)}** {interval(entry.score)}"
    if entry.result.problems:
        text += " ⚠"
    if entry.at_chance:
        text += " = chance"
    if entry.seeds:
        text += "<br>" + " ".join(percent(score) for score in entry.seeds.values())
    if entry.pairing and entry.pairing.comparison:
        d = entry.pairing.comparison.difference
        text += f"<br>Δ {points(d.value)} {interval(d, points)}{MARKS[entry.verdict]}"
    return text


def _details(table: Table) -> list[str]:
    heads = [
        "model", "task", "variant", "metric", "n", "chance", "score", "95% interval", "Δ", "95% interval", "p",
        "adjusted p", "verdict", "gained", "lost", "resolvable", "tokens in", "tokens out", "clipped", "seconds",
    ]  # fmt: skip
    lines = [line(heads), line(["---"] * 4 + ["---:"] * 8 + ["---"] + ["---:"] * 7)]
    for task in table.tasks:
        for row in table.rows:
            if task in row.entries:
                lines.append(line(_detail(row, task, row.entries[task])))
    return lines


def _detail(row: Row, task: str, entry: Entry) -> list[str]:
    r, counts = entry.result, entry.result.counts
    comparison = entry.pairing.comparison if entry.pairing else None
    middle = [""] * 8
    if comparison is not None:
        d = comparison.difference
        middle = [
            points(d.value),
            interval(d, points),
            p_value(comparison.p),
            p_value(entry.adjusted_p),
            entry.verdict,
            str(comparison.gained),
            str(comparison.lost),
            percent(comparison.resolvable),
        ]
    elif entry.verdict == "baseline":
        middle[4] = "baseline"
    clipped = counts["clipped_prompts"] + counts["clipped_budgets"]
    return [
        row.model,
        task,
        named(row),
        f"{r.metric},{r.filter}",
        str(r.n),
        percent(r.chance),
        percent(entry.score.value),
        interval(entry.score),
        *middle,
        f"{counts['prompt_tokens']:,}",
        f"{counts['generated_tokens']:,}",
        str(clipped),
        f"{r.seconds:.1f}",
    ]


def _groups(table: Table) -> list[str]:
    """Means of the groups of a task (MMLU's four), where it has any."""
    lines: list[str] = []
    for task in table.tasks:
        rows = [(r, r.entries[task].result.groups) for r in table.rows if task in r.entries]
        names = list(dict.fromkeys(name for _, groups in rows for name in groups))
        if names:
            lines += [
                f"### {task} by group",
                "",
                line(["model", "variant", *names]),
                line(["---", "---", *["---:"] * len(names)]),
            ]
            lines += [
                line([r.model, f"`{r.variant}`", *[percent(g[n]) if n in g else "" for n in names]]) for r, g in rows
            ]
            lines.append("")
    return lines


def _footer(table: Table) -> list[str]:
    """What is needed to repeat the page."""
    lines = ["## To repeat this", ""]
    results = [e.result for row in table.rows for e in row.entries.values()]
    commands = sorted({r.settings["command"] for r in results if r.settings["command"]})
    if commands:
        lines += ["```", *commands, "```", ""]
    lines += [f"`python -m harness.report {table.folder}` renders this page again from the stored cells.", ""]
    versions = {json.dumps(r.identity["versions"], sort_keys=True) for r in results}
    for text in sorted(versions):
        lines.append("- versions: " + ", ".join(f"{k} {v}" for k, v in json.loads(text).items()))
    keys = ("dtype", "seed", "limit", "max_length", "chat_template", "backend", "sandbox")
    lines.append("- " + "; ".join(_common(key, results) for key in keys))
    for task in table.tasks:
        identities = [row.entries[task].result.identity for row in table.rows if task in row.entries]
        shots = sorted({str(n) for i in identities for n in i["shots"].values()})
        data = sorted({i["data"][:16] for i in identities})
        lines.append(f"- {task}: shots {', '.join(shots)}; documents {', '.join(data)}")
    lines.append(
        f"- device: {', '.join(sorted({r.settings['device'] for r in results}))}; "
        f"batch size: {', '.join(sorted({str(r.settings['batch_size']) for r in results}))}"
    )
    for model in table.models:
        prints = {e.result.identity["model"] for row in table.rows if row.model == model for e in row.entries.values()}
        lines.append(f"- {model}: weights {', '.join(sorted(p[:16] for p in prints))}")
    for row in table.rows:
        if not row.entries:
            continue
        entry = next(iter(row.entries.values())).result
        settings = {k: v for k, v in entry.patch["config"].items() if v not in (None, [], "")}
        donors = "".join(f"; donor {name} {mark[:16]}" for name, mark in entry.patch["donors"].items())
        made_by = json.dumps(settings, default=str)
        lines.append(f"- {row.model} `{row.variant}`: patch {entry.identity['patch'][:16]}, {made_by}{donors}")
    warned = [f"- ⚠ {r.name}: {'; '.join(r.problems)}" for r in results if r.problems]
    warned += [
        f"- ⚠ {r.name}: {r.counts['timed_out']} texts were ended by the deadline of {r.identity['deadline']} s"
        for r in results
        if r.counts.get("timed_out")
    ]
    unpaired = [
        f"- {e.result.name}: {e.pairing.unpaired} documents do not pair with `{table.baseline}`"
        for row in table.rows
        for e in row.entries.values()
        if e.pairing and e.pairing.unpaired
    ]
    apart = [
        f"- {e.result.name} is not compared: it differs from `{table.baseline}` in {', '.join(e.pairing.differing)}"
        for row in table.rows
        for e in row.entries.values()
        if e.pairing and e.pairing.differing
    ]
    failed = [
        f"- ✗ {f.name} failed at {f.when}: {one_line(f.text)}" for row in table.rows for f in row.failures.values()
    ]
    return lines + failed + warned + unpaired + apart + [f"- ⚠ left out: {problem}" for problem in table.damaged]


def one_line(text: str, most: int = 300) -> str:
    """A message as one line of a page."""
    whole = " ".join(text.split())
    return whole if len(whole) <= most else whole[: most - 1] + "…"


def _common(key: str, results: Sequence[object]) -> str:
    raw = [r.identity[key] for r in results]  # type: ignore[attr-defined]
    values = sorted({"none" if v is None else json.dumps(v).replace('"', "") for v in raw})
    return f"{key.replace('_', ' ')}: {', '.join(values)}"
