"""The verdicts on claims, as a section of the first page."""

from __future__ import annotations

from harness.claims import ClaimVerdict
from harness.report.claims import SIGNS, level_text, rule_text
from harness.report.html.frame import esc, name_html, section, table
from harness.report.html.source import Source


def claims(source: Source) -> str:
    """The section; empty without claims."""
    verdicts, _ = source.judged
    if not verdicts:
        return ""
    legend = (
        "What papers state, put to these results. Supported or contradicted: interval and test say so together, at the "
        f"5% level divided by the number of claims ({level_text(verdicts)}), and so is the number counted that would "
        "resolve the others. All parts of a claim must hold. Δ with its 95% interval."
    )
    heads = ["claim", "verdict", "statement", "measured"]
    found = table(heads, [_row(source, v) for v in verdicts], "Claims and verdicts", "claims", roles=True)
    return section("claims", "Claims", found, legend)


def _row(source: Source, v: ClaimVerdict) -> list[str]:
    c = v.claim.config
    name = name_html(v.claim.name) + (f"<br>{esc(v.claim.model)}" if source.several else "")
    css = v.verdict.replace(" ", "-")
    badge = f'<span class="badge {esc(css)}">{esc(SIGNS.get(v.verdict, v.verdict))}</span>'
    small = [
        rule_text(v).replace("*", ""),
        ", ".join(t for t in (c.paper, c.where) if t),
        *([c.note] if c.note else []),
    ]
    statement = f"{esc(c.statement.strip())}<small>{'<br>'.join(esc(line) for line in small)}</small>"
    told = v.text.partition(": ")[2].split("; ") if v.parts else [v.why]
    return [name, badge, statement, "<br>".join(esc(line) for line in [*told, *([v.more] if v.more else [])])]
