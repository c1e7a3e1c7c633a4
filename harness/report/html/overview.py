"""The first page: what was found, the comparison table, claims, forest plot, cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from harness.report.html.charts import forests, mean_cost
from harness.report.html.claims import claims
from harness.report.html.frame import SIGNS, delta_html, esc, name_html, score_html, scroll, section
from harness.report.html.source import Source
from harness.report.markdown import percent, points
from harness.report.rows import Entry, Row

_FILTERS = """<form class="filters" id="filters" role="search" aria-label="Rows of the comparison">
<label>Variant <input type="search" id="filter-name" autocomplete="off" placeholder="part of a name"></label>
<label><input type="checkbox" id="filter-resolved"> with a resolved difference only</label>
<label>Sort by
<select id="sort-by"><option value="v">score</option><option value="d">difference</option></select></label>
<output id="filter-count" aria-live="polite"></output>
</form>"""


def overview(source: Source, pages: Mapping[str, str]) -> str:
    """The body of the first page.

    Args:
        source: the results.
        pages: task -> address of its page.
    """
    parts = [
        f"<h1>{esc(source.folder.resolve().name)}</h1>",
        _in_short(source),
        _grid(source, pages),
        claims(source),
        forests(source, pages),
        mean_cost(source),
        _problems(source),
    ]
    return "\n".join(p for p in parts if p)


def _in_short(source: Source) -> str:
    """What a reader wants to know first."""
    t = source.table
    found = [(row, task, e) for row in t.rows for task, e in row.entries.items() if e.verdict != "baseline"]
    if not t.rows:
        return section("short", "In short", "<p>No cells: what methods measured stands on the pages above.</p>")
    lines = [
        f"{len(t.rows)} rows on {len(t.tasks)} tasks, {t.comparisons} comparisons with <code>{esc(t.baseline)}</code> "
        f"on the same documents, {t.method.adjusted_words}."
    ]
    for verdict, word in (("gain", "Resolved gains"), ("regression", "Resolved regressions")):
        own = [(row, task, e) for row, task, e in found if e.verdict == verdict]
        own.sort(key=lambda x: -abs(_difference(x[2]) or 0.0))
        shown = ", ".join(
            f"<code>{esc(source.name(row))}</code> on {esc(task)} ({points(_difference(e) or 0.0)})"
            for row, task, e in own[:5]
        )
        more = f" and {len(own) - 5} more" if len(own) > 5 else ""
        lines.append(f"{SIGNS[verdict]} {word}: {shown}{more}." if own else f"{word}: none.")
    resolvable = [e.pairing.comparison.resolvable for _, _, e in found if e.pairing and e.pairing.comparison]
    unresolved = sum(e.verdict == "unresolved" for _, _, e in found)
    if unresolved and resolvable:
        lines.append(
            f"Unresolved: {unresolved}, which does not mean unchanged: these data show differences of "
            f"{percent(min(resolvable))} to {percent(max(resolvable))} points with 80% power."
        )
    verdicts, _ = source.judged
    if verdicts:
        told = ", ".join(f"{n} {word}" for word, n in Counter(v.verdict for v in verdicts).items())
        lines.append(f'Claims: {told} (<a href="#claims">below</a>).')
    return section("short", "In short", f"<ul>{''.join(f'<li>{text}</li>' for text in lines)}</ul>")


def _difference(entry: Entry) -> float | None:
    return entry.pairing.comparison.difference.value if entry.pairing and entry.pairing.comparison else None


def _grid(source: Source, pages: Mapping[str, str]) -> str:
    """The table that is sorted and filtered in the page."""
    t = source.table
    if not t.rows:
        return ""
    heads = ["model"] if source.several else []
    columns = [(h, "") for h in [*heads, "variant"]]
    columns += [(task, _about(source, task)) for task in t.tasks]
    columns.append(("parameters touched", ""))
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" class="sort" data-column="{i}">{esc(name)}</button>'
        f"{f'<small>{esc(about)}</small>' if about else ''}</th>"
        for i, (name, about) in enumerate(columns)
    )
    body = "".join(_grid_row(source, row, pages) for row in t.rows)
    legend = (
        "Scores in percent with their 95% interval; below, the difference to the baseline on the same documents, in "
        f"points. ▲ resolved gain, ▼ resolved regression: {t.method.adjusted_words} p &lt; 0.05 over the "
        f"{t.comparisons} comparisons of this page, and an interval without 0. No mark: unresolved. A score opens its "
        "task."
    )
    grid = f'<table class="grid" id="grid"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return section("table", "Comparison", f"{_FILTERS}{scroll(grid, 'Comparison table')}", legend)


def _about(source: Source, task: str) -> str:
    results = [e.result for _, e in source.rows(task)]
    if not results:
        return "no cell"
    sizes = sorted({r.n for r in results})
    n = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"n={n}, chance {percent(results[0].chance)}"


def _grid_row(source: Source, row: Row, pages: Mapping[str, str]) -> str:
    t = source.table
    touched = next(iter(row.entries.values())).result.patch["touched"] if row.entries else None
    marks = '<span class="badge warn">chosen on test documents</span>' if row.leaky else ""
    seeds = max((len(e.seeds) for e in row.entries.values()), default=0)
    marks += f'<span class="badge">{seeds} seeds</span>' if seeds else ""
    model = f'<td data-v="{esc(row.model)}">{esc(row.model)}</td>' if source.several else ""
    shown = esc(row.touched).replace("&lt;br&gt;", "<br>")
    cells = "".join(_grid_cell(row, task, row.entries.get(task), pages.get(task, "")) for task in t.tasks)
    resolved = any(e.verdict in SIGNS for e in row.entries.values())
    return (
        f'<tr data-name="{esc(row.model)} {esc(row.variant)}" data-resolved="{int(resolved)}">{model}'
        f'<th scope="row" data-v="{esc(row.variant)}">{name_html(row.variant)}{marks}</th>'
        f'{cells}<td data-v="{"" if touched is None else touched}">{shown}</td></tr>'
    )


def _grid_cell(row: Row, task: str, entry: Entry | None, address: str) -> str:
    if entry is None:
        return f'<td data-v="">{row.absent(task)}</td>'
    d = _difference(entry)
    warn = ' <span class="badge warn">not finite</span>' if entry.result.problems else ""
    chance = ' <span class="badge">= chance</span>' if entry.at_chance else ""
    return (
        f'<td data-v="{entry.score.value!r}" data-d="{"" if d is None else repr(d)}" class="{entry.verdict}">'
        f'<a href="{esc(address)}">{score_html(entry.score)}</a>{warn}{chance}<br>{delta_html(entry)}</td>'
    )


def _problems(source: Source) -> str:
    t = source.table
    lines = [f"{f.name} failed: {f.text}" for row in t.rows for f in row.failures.values()]
    lines += [f"left out: {problem}" for problem in (*t.damaged, *source.judged[1])]
    entries = [e for row in t.rows for e in row.entries.values()]
    lines += [f"{e.result.name}: {'; '.join(e.result.problems)}" for e in entries if e.result.problems]
    lines += [
        f"{e.result.name} is not compared: it differs from {t.baseline} in {', '.join(e.pairing.differing)}"
        for e in entries
        if e.pairing and e.pairing.differing
    ]
    items = "".join(f"<li>{esc(line)}</li>" for line in lines)
    return section("problems", "What went wrong", f'<ul class="problems">{items}</ul>' if lines else "")
