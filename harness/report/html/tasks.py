"""The page of a task: every number, flips, paired scatter, cost, and the sample browser."""

from __future__ import annotations

from collections.abc import Mapping

from harness.config.compose import compose_task
from harness.report.html.charts import cost_points, forest
from harness.report.html.frame import SIGNS, columns, delta_html, esc, name_html, score_html, section, table
from harness.report.html.plots import cost_plot
from harness.report.html.source import Source
from harness.report.markdown import p_value, percent
from harness.report.rows import Entry, Row

_PAIRS = """<form class="filters" aria-label="What is compared">
<label>Variant <select id="pair-cell"></select></label>
<label>against <select id="pair-base"></select></label>
<label>by
<select id="pair-by"><option value="document">document</option><option value="group">group</option></select></label>
</form>
<div class="columns"><figure class="plot">
<canvas id="scatter" width="640" height="480" role="img" aria-label="Paired scatter"></canvas>
<figcaption id="scatter-text"></figcaption></figure>
<div id="quadrants"></div></div>"""
_BROWSER = """<form class="filters" id="sample-filters" role="search" aria-label="Documents">
<label>Show <select id="sample-filter">OPTIONS</select></label>
<label>Base <select id="sample-base"></select></label>
<label>Variant <select id="sample-cell"></select></label>
<label>Group <select id="sample-group"><option value="">any</option></select></label>
<label>Number <input id="sample-number" type="search" inputmode="numeric" autocomplete="off" size="6"></label>
<output id="sample-count" aria-live="polite"></output>
</form>
<p class="legend">A square for each variant, in the order of the answers: filled is right. <kbd>j</kbd> and <kbd>k</kbd>
go on and back. The address of this page names the document: it can be shared.</p>
<div class="browser"><div><ol id="sample-list" class="samples" aria-label="Documents"></ol>
<p class="pager"><button type="button" id="sample-back">back</button> <span id="sample-page"></span>
<button type="button" id="sample-on">on</button></p></div>
<article id="sample" aria-live="polite" tabindex="-1"><p>Choose a document.</p></article></div>
<noscript><p>The samples need JavaScript; every number stands above without it.</p></noscript>"""
_SHOWN = {
    "all": "all documents",
    "lost": "base right, variant wrong (lost)",
    "gained": "base wrong, variant right (gained)",
    "both": "both right",
    "neither": "both wrong",
    "differ": "any two variants differ",
}


def task_page(source: Source, task: str, counts: Mapping[str, int]) -> str:
    """The body of a task's page.

    Args:
        source: the results.
        task: the task.
        counts: documents and cells of its samples.
    """
    rows = source.rows(task)
    result = rows[0][1].result
    facts = [
        f"metric <code>{esc(result.metric)},{esc(result.filter)}</code>",
        f"chance {percent(result.chance)}",
        f"{counts['documents']:,} documents",
        f"shots {esc(', '.join(sorted({str(n) for n in result.identity['shots'].values()})))}",
    ]
    parts = [
        f"<h1>{esc(task)}</h1>",
        f"<p>{esc(_about(task))}</p>" if _about(task) else "",
        f'<p class="legend">{"; ".join(facts)}</p>',
        section("numbers", "Every number", _numbers(source, rows)),
        _flips(source, rows),
        section("pairs", "Document by document", _PAIRS),
        section("cost", "Cost and score", _cost(source, task)),
        section("samples", "Samples", _browser()),
    ]
    return "\n".join(p for p in parts if p)


def _about(task: str) -> str:
    try:
        return compose_task(task.partition("(")[0], {})[0].about
    except ValueError:
        return ""


def _numbers(source: Source, rows: list[tuple[Row, Entry]]) -> str:
    heads = ["variant", "score", "difference", "p", "adjusted p", "verdict", "gained", "lost", "resolvable", "n"]
    heads += ["tokens out", "seconds"]
    lines = []
    for row, entry in rows:
        c = entry.pairing.comparison if entry.pairing else None
        verdict = f"{SIGNS.get(entry.verdict, '')} {entry.verdict}".strip() if entry.verdict != "none" else ""
        middle = ["", "", verdict, "", "", ""]
        if c is not None:
            middle = [
                f'<span title="{esc(c.test)}">{p_value(c.p)}</span>',
                p_value(entry.adjusted_p),
                verdict,
                str(c.gained),
                str(c.lost),
                percent(c.resolvable),
            ]
        counts = entry.result.counts
        last = [str(entry.result.n), f"{counts['generated_tokens']:,}", f"{entry.result.seconds:.1f}"]
        name = name_html(source.name(row))
        lines.append([name, score_html(entry.score), delta_html(entry), *middle, *last])
    return table(heads, lines, "Every number of this task", "numbers")


def _flips(source: Source, rows: list[tuple[Row, Entry]]) -> str:
    """Documents that got better and worse, beside each other, and the forest plot."""
    found = [(row, e.pairing.comparison) for row, e in rows if e.pairing and e.pairing.comparison]
    if not found:
        return ""
    most = max(max(c.gained, c.lost) for _, c in found) or 1
    lines = []
    for row, c in found:
        bars = (
            f'<span class="flips" role="img" aria-label="{c.lost} lost, {c.gained} gained">'
            f'<span class="lost" style="width:{50 * c.lost / most:.2f}%"></span>'
            f'<span class="gained" style="width:{50 * c.gained / most:.2f}%"></span></span>'
        )
        lines.append([name_html(source.name(row)), str(c.lost), bars, str(c.gained)])
    flips = table(["variant", "lost", "lost and gained", "gained"], lines, "Documents lost and gained", "flip-table")
    blocks = [
        f"<h3>Differences to the baseline</h3>{forest(source, rows[0][1].result.name.task)}",
        f"<h3>Documents that got worse, and better</h3>{flips}",
    ]
    return section("flips", "Differences and flips", columns(blocks))


def _cost(source: Source, task: str) -> str:
    label = f"Score on {task} against seconds a document"
    return cost_plot(cost_points(source, task), "seconds a document", "score, %", label)


def _browser() -> str:
    options = "".join(f'<option value="{value}">{text}</option>' for value, text in _SHOWN.items())
    return _BROWSER.replace("OPTIONS", options)
