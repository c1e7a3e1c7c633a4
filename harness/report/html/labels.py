"""Where the numbers of a plot's points stand, so that they can be read where points lie close."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Box = tuple[float, float, float, float]  # left, top, right, bottom
LETTER, TALL, RADIUS = 8.0, 13.0, 6.0


def place_labels(
    points: Sequence[tuple[float, float]], texts: Sequence[str], inside: Box
) -> list[tuple[float, float, bool]]:
    """A place for each point's label: beside it, or as near as one is free.

    Args:
        points: x and y of each, in pixels; y grows downwards.
        texts: of the labels.
        inside: where they may stand.

    Returns:
        x of the left end and y of the base line of each, and whether it stands so far off that a line must lead to it.
    """
    taken = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in points]
    out = []
    for (x, y), text in zip(points, texts, strict=True):
        wide = LETTER * len(text) + 2
        places = list(_places(x, y, wide))
        boxes = [(left, base - TALL + 2, left + wide, base + 2) for left, base, _ in places]
        free = [i for i, box in enumerate(boxes) if _within(box, inside) and not any(_overlap(box, b) for b in taken)]
        chosen = free[0] if free else 0
        taken.append(boxes[chosen])
        out.append(places[chosen])
    return out


def _places(x: float, y: float, wide: float) -> Iterator[tuple[float, float, bool]]:
    """Beside the point first, then in rings around it."""
    for ring in range(6):
        away = RADIUS + 2 + 14 * ring
        rise = 14 * ring
        for left in (x + away, x - away - wide):
            yield left, y - 4 - rise, ring > 0
            yield left, y + 12 + rise, ring > 0
        yield x - wide / 2, y - away - 2, ring > 0
        yield x - wide / 2, y + away + TALL - 2, ring > 0


def _within(box: Box, outer: Box) -> bool:
    return box[0] >= outer[0] and box[1] >= outer[1] and box[2] <= outer[2] and box[3] <= outer[3]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
