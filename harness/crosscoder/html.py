"""A page of HTML for each latent, and one that lists them: files that open without a server and hold no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from harness.crosscoder.contexts import Context, Writes
from harness.files import write_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .2rem .7rem; border-bottom: 1px solid #ddd; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.context { font: 14px/1.9 ui-monospace, monospace; border-bottom: 1px solid #eee; padding: .3rem 0; }
.context { white-space: pre-wrap; }
.value { color: #777; display: inline-block; width: 4.5rem; }
mark { color: inherit; border-radius: 2px; } mark.top { outline: 1px solid #c60; }
.note { color: #666; }
@media (prefers-color-scheme: dark) {
  body { background: #181818; color: #ddd; } td, th { border-color: #444; } .context { border-color: #333; }
  a { color: #8bf; } .note, .value { color: #999; }
}
"""


@dataclass(frozen=True)
class InModel:
    """One latent in one model.

    Attributes:
        model: its name.
        share: RelIE, with its 95% interval.
        effect: mean effect on the metric, with its sign, with its 95% interval.
        exact: what the metric loses when the latent alone is taken out; None where it was not measured.
        norm_share: RelDec.
        writes: what the direction says to the head.
    """

    model: str
    share: tuple[float, float, float]
    effect: tuple[float, float, float]
    exact: float | None
    norm_share: float
    writes: Writes


@dataclass(frozen=True)
class LatentPage:
    """Everything on the page of a latent.

    Attributes:
        latent: its number.
        kind: its class.
        certainty: share of the resamples that give this class.
        rate: share of the held-out tokens where it is on.
        mean: its mean value there.
        cosines: name of a pair of models -> cosine of its directions there.
        pairs: which share of two models -> the later one's share of the effects of both.
        models: model by model.
        contexts: where it is strongest.
    """

    latent: int
    kind: str
    certainty: float
    rate: float
    mean: float
    cosines: dict[str, float]
    pairs: dict[str, float]
    models: Sequence[InModel]
    contexts: Sequence[Context]


def write_pages(folder: Path, pages: Sequence[LatentPage], title: str) -> Path:
    """Writes ``latent-N.html`` for each latent and ``index.html``; returns the index."""
    for before, page, behind in zip((None, *pages), pages, (*pages[1:], None), strict=False):
        write_text(folder / file_of(page.latent), _page(page, title, before, behind))
    write_text(folder / "index.html", _index(pages, title))
    return folder / "index.html"


def file_of(latent: int) -> str:
    """Name of a latent's page."""
    return f"latent-{latent}.html"


def _document(title: str, body: Sequence[str]) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>\n' + "\n".join(
        [*body, "</body></html>\n"]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """A table whose first ``text`` columns are text; its cells are HTML already."""

    def cells(kind: str, row: Sequence[str]) -> str:
        return "".join(f"<{kind}{'' if i < text else ' class=n'}>{cell}</{kind}>" for i, cell in enumerate(row))

    return f"<table><tr>{cells('th', head)}</tr>" + "".join(f"<tr>{cells('td', row)}</tr>" for row in rows) + "</table>"


def _page(page: LatentPage, title: str, before: LatentPage | None, behind: LatentPage | None) -> str:
    links = ['<a href="index.html">all latents</a>']
    links += [f'<a href="{file_of(p.latent)}">{text}</a>' for p, text in ((before, "before"), (behind, "next")) if p]
    rows = [
        [
            escape(m.model),
            _spread(m.share),
            _spread(m.effect),
            "" if m.exact is None else f"{m.exact:+.3f}",
            f"{m.norm_share:.2f}",
        ]
        for m in page.models
    ]
    cosines = ", ".join(f"{escape(pair)} {value:.2f}" for pair, value in page.cosines.items())
    pairs = ", ".join(f"{escape(pair)} {value:.2f}" for pair, value in page.pairs.items())
    body = [
        f"<p>{' · '.join(links)}</p>",
        f"<h1>Latent {page.latent}</h1>",
        f"<p>{escape(title)}. Class: <b>{escape(page.kind)}</b> ({page.certainty:.0%} of the resamples). On at "
        f"{page.rate:.2%} of the tokens, mean value there {page.mean:.2f}. Cosine of its directions: "
        f"{cosines or 'one model'}. RelIE of pairs: {pairs or 'one model'}.</p>",
        _table(["model", "RelIE [95%]", "effect [95%]", "taken out alone", "RelDec"], rows),
        '<p class="note">Effect: what the difference of the logits, right less wrong, loses without the latent, by '
        "integrated gradients; positive helps the task. Taken out alone: the same, exactly.</p>",
        "<h2>What its direction says to the output head</h2>",
        _table(
            ["model", "raises", "lowers"],
            [[escape(m.model), _tokens(m.writes.up), _tokens(m.writes.down)] for m in page.models],
            3,
        ),
        '<p class="note">Directly, through the weights of the last norm; later layers read the direction too.</p>',
        f"<h2>Where it is strongest ({len(page.contexts)} texts)</h2>",
        *[_context(context, page) for context in page.contexts],
    ]
    if not page.contexts:
        body.append("<p>It is off on all of the held-out text.</p>")
    return _document(f"latent {page.latent}", body)


def _spread(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]"


def _tokens(tokens: Sequence[tuple[str, float]]) -> str:
    return " ".join(f"<code>{escape(_visible(text))}</code> {value:+.2g}" for text, value in tokens)


def _visible(text: str) -> str:
    """A token whose blanks can be seen."""
    return text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣")


def _context(context: Context, page: LatentPage) -> str:
    top = max((max(c.values) for c in page.contexts), default=0.0) or 1.0
    parts = []
    for i, (text, value) in enumerate(zip(context.tokens, context.values, strict=True)):
        shown = escape(text.replace("\n", "⏎"))
        if value > 0:
            mark = ' class="top"' if i == context.at else ""
            shade = f"background: rgba(255, 140, 0, {0.15 + 0.75 * value / top:.2f})"
            shown = f'<mark{mark} style="{shade}" title="{value:.2f}">{shown}</mark>'
        parts.append(shown)
    return f'<div class="context"><span class="value">{context.values[context.at]:.2f}</span>{"".join(parts)}</div>'


def _index(pages: Sequence[LatentPage], title: str) -> str:
    names = [m.model for m in pages[0].models] if pages else []
    head = [
        "latent",
        "class",
        "strongest at",
        "certainty",
        *(f"RelIE {escape(n)}" for n in names),
        *(f"effect {escape(n)}" for n in names),
        "on at",
    ]
    rows = []
    for page in pages:
        where = page.contexts[0] if page.contexts else None
        near = (
            ""
            if where is None
            else "".join(where.tokens[max(0, where.at - 4) : where.at]) + "⟦" + where.tokens[where.at] + "⟧"
        )
        rows.append(
            [
                f'<a href="{file_of(page.latent)}">{page.latent}</a>',
                escape(page.kind),
                f"<code>{escape(near.replace(chr(10), '⏎'))}</code>",
                f"{page.certainty:.0%}",
                *(f"{m.share[0]:.2f}" for m in page.models),
                *(f"{m.effect[0]:+.3f}" for m in page.models),
                f"{page.rate:.2%}",
            ]
        )
    return _document(title, [f"<h1>{escape(title)}</h1>", _table(head, rows, 3)])
