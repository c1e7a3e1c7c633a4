"""Plots as SVG inside the page: they take the page's colours, in the dark too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.html.frame import esc
from harness.report.html.labels import place_labels
from harness.statistics import Estimate

WIDTH, HEIGHT, MARGIN = 640, 360, 48


def interval_bar(d: Estimate, reach: float, verdict: str, words: str) -> str:
    """One line of a forest plot: the difference and its interval on a scale from ``-reach`` to ``reach``.

    Args:
        d: the difference.
        reach: end of the scale, above 0.
        verdict: colours it.
        words: the same in words, for who does not see it.
    """

    def x(value: float) -> float:
        return 100 + 100 * max(-1.0, min(1.0, value / reach))

    low, mid, high = x(d.low), x(d.value), x(d.high)
    return (
        f'<svg class="bar {verdict}" viewBox="0 0 200 20" preserveAspectRatio="none" role="img"'
        f' aria-label="{esc(words)}">'
        '<line class="zero" x1="100" x2="100" y1="0" y2="20"/>'
        f'<line class="ci" x1="{low:.2f}" x2="{high:.2f}" y1="10" y2="10"/>'
        f'<line class="end" x1="{low:.2f}" x2="{low:.2f}" y1="6" y2="14"/>'
        f'<line class="end" x1="{high:.2f}" x2="{high:.2f}" y1="6" y2="14"/>'
        f'<line class="mid" x1="{mid:.2f}" x2="{mid:.2f}" y1="3" y2="17"/></svg>'
    )


@dataclass(frozen=True)
class Point:
    """A point of a plot.

    Attributes:
        name: what it is.
        x: cost, above 0.
        y: score, from 0 to 1.
        low: lower end of the score's interval.
        high: upper end.
        verdict: colours it.
    """

    name: str
    x: float
    y: float
    low: float
    high: float
    verdict: str


def cost_plot(found: Sequence[Point], across: str, up: str, label: str) -> str:
    """Scores against cost on a logarithmic axis; points carry the numbers of the list below."""
    if not found:
        return ""
    xs = [p.x for p in found]
    left, right = min(xs) / 1.25, max(xs) * 1.25
    bottom, top = max(0.0, min(p.low for p in found) - 0.03), min(1.0, max(p.high for p in found) + 0.03)

    def at(p_x: float, p_y: float) -> tuple[float, float]:
        across_share = (math.log(p_x) - math.log(left)) / (math.log(right) - math.log(left))
        up_share = (p_y - bottom) / (top - bottom) if top > bottom else 0.5
        return MARGIN + across_share * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - up_share * (HEIGHT - 2 * MARGIN)

    parts = []
    for value in _round_steps(bottom, top):
        _, y = at(left, value)
        parts.append(f'<line class="grid" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * value:.0f}</text>')
    for value in _log_steps(left, right):
        x, _ = at(value, bottom)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle">{value:g}</text>')
    numbers = [str(i) for i in range(1, len(found) + 1)]
    places = place_labels([at(p.x, p.y) for p in found], numbers, (MARGIN, MARGIN / 2, WIDTH, HEIGHT - MARGIN))
    for number, p, (left_end, base, far) in zip(numbers, found, places, strict=True):
        (x, y), (_, low), (_, high) = at(p.x, p.y), at(p.x, p.low), at(p.x, p.high)
        led = f'<line class="lead" x1="{x:.1f}" x2="{left_end + 4:.1f}" y1="{y:.1f}" y2="{base - 4:.1f}"/>'
        parts.append(
            f'<g class="point {p.verdict}"><title>{esc(p.name)}: {100 * p.y:.1f} at {p.x:.4g}</title>'
            f'<line class="ci" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
            f'{led if far else ""}<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
            f'<text x="{left_end:.1f}" y="{base:.1f}">{number}</text></g>'
        )
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{esc(across)}</text>')
    parts.append(f'<text x="{MARGIN - 32}" y="{MARGIN - 16}">{esc(up)}</text>')
    names = "".join(f"<li>{esc(p.name)}: {100 * p.y:.1f}, {p.x:.4g}</li>" for p in found)
    return (
        f'<figure class="plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(label)}">'
        f'{"".join(parts)}</svg><figcaption><ol class="names">{names}</ol></figcaption></figure>'
    )


def _round_steps(low: float, high: float) -> list[float]:
    """A few round values between two shares."""
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / s <= 8 or s == 0.5)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_steps(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two values; even steps where those are fewer than three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    if len(found) > 2:
        return found
    unit = 10.0 ** (math.floor(math.log10(high - low)) - 1)
    step = next(unit * m for m in (1, 2, 5, 10, 20, 50) if (high - low) / (unit * m) <= 5)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
