"""The frame of every page, and pieces of HTML; whatever a model or a file says is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

from harness.evaluation.cells import file_name
from harness.report.markdown import interval, p_value, percent, points
from harness.report.rows import Entry
from harness.statistics import Estimate

SIGNS = {"gain": "▲", "regression": "▼"}
WORDS = {"gain": "resolved gain", "regression": "resolved regression", "unresolved": "unresolved"}


def esc(text: object) -> str:
    """Text as HTML."""
    return html.escape(str(text), quote=True)


def name_html(text: object) -> str:
    """A name in code, which may be broken at its underscores."""
    return f"<code>{esc(text).replace('_', '_<wbr>')}</code>"


def slug(text: str) -> str:
    """A name as part of an address."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", file_name(text)).strip(".") or "page"


def page(
    title: str, body: str, links: Mapping[str, str], current: str, up: str = "", scripts: Sequence[str] = ()
) -> str:
    """A whole page.

    Args:
        title: of the page.
        body: what stands in ``main``.
        links: name -> address from the report's root, for the navigation.
        current: name of the link that is this page.
        up: path from the page to the report's root, with its slash.
        scripts: addresses of the page's own scripts, from the root.
    """
    items = "".join(
        f'<li><a href="{esc(up + address)}"{_current(name == current)}>{esc(name)}</a></li>'
        for name, address in links.items()
    )
    own = "".join(f'<script src="{esc(up + s)}" defer></script>\n' for s in ("assets/report.js", *scripts))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{esc(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{esc(up)}assets/report.css">
{own}</head>
<body>
<a class="skip" href="#main">To the content</a>
<header>
<nav aria-label="Pages"><ul>{items}</ul></nav>
<button id="theme" type="button" aria-label="Dark or light">◐</button>
</header>
<main id="main" tabindex="-1">
{body}
</main>
</body>
</html>
"""


def _current(yes: bool) -> str:
    return ' aria-current="page"' if yes else ""


def section(name: str, title: str, inner: str, legend: str = "") -> str:
    """A section with a heading that links can name; empty without content.

    Args:
        name: what links name it by.
        title: its heading.
        inner: HTML.
        legend: HTML of the words above it.
    """
    if not inner:
        return ""
    words = f'<p class="legend">{legend}</p>' if legend else ""
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{esc(title)}</h2>{words}{inner}</section>'


def columns(blocks: Iterable[str]) -> str:
    """Blocks beside each other where there is room."""
    return f'<div class="columns">{"".join(f"<div>{block}</div>" for block in blocks)}</div>'


def scroll(inner: str, label: str) -> str:
    """What may be wider than a phone: a region of its own that scrolls, by keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{esc(label)}">{inner}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], label: str, css: str = "", roles: bool = False) -> str:
    """A plain table; cells are HTML, the first one heads its row.

    Args:
        heads: of the columns.
        rows: of cells.
        label: what a screen reader calls it.
        css: class.
        roles: write out what each part is, for a table that a style lays out as something else on a phone.
    """

    def part(tag: str, role: str, content: str, more: str = "") -> str:
        told = f' role="{role}"' if roles else ""
        return f"<{tag}{told}{more}>{content}</{tag}>"

    def row(cells: Sequence[str]) -> str:
        first = part("th", "rowheader", cells[0], ' scope="row"')
        return part("tr", "row", first + "".join(part("td", "cell", c) for c in cells[1:]))

    columns = "".join(part("th", "columnheader", h, ' scope="col"') for h in heads)
    head = part("thead", "rowgroup", part("tr", "row", columns))
    body = part("tbody", "rowgroup", "".join(row(cells) for cells in rows))
    return scroll(part("table", "table", head + body, f' class="{css}"'), label)


def score_html(estimate: Estimate) -> str:
    """A score in percent with its interval."""
    return f'<b>{percent(estimate.value)}</b> <span class="ci">{interval(estimate)}</span>'


def delta_html(entry: Entry) -> str:
    """The difference to the baseline, with its sign if it is resolved; empty for the baseline."""
    comparison = entry.pairing.comparison if entry.pairing else None
    if comparison is None:
        return ""
    d, sign = comparison.difference, SIGNS.get(entry.verdict, "")
    word = WORDS.get(entry.verdict, "")
    mark = f'<span title="{word}" role="img" aria-label="{word}">{sign}</span> ' if sign else ""
    told = f"adjusted p {p_value(entry.adjusted_p)}; {word}; {comparison.gained} gained, {comparison.lost} lost"
    return (
        f'<span class="delta {entry.verdict}" title="{esc(told)}">{mark}{points(d.value)} '
        f'<span class="ci">{interval(d, points)}</span></span>'
    )
