"""``python -m harness.report plan --effect 0.02 --task gsm8k``: how many documents resolve an effect.

Exact McNemar needs more documents where more of them change from right to wrong and back, so the share that changes is
what the answer turns on: it is read from a results folder (``--results``), given (``--changed``), or several are shown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from harness.config.compose import compose_task
from harness.report.table import build_table
from harness.statistics import ALPHA, POWER, documents_for, mcnemar_power
from harness.tasks.sizes import documents_of_task

SHARES = (0.02, 0.05, 0.10, 0.20, 0.40)


@dataclass(frozen=True)
class Seen:
    """What a stored comparison shows.

    Attributes:
        name: model and variant.
        changed: share of the documents that changed from right to wrong or back.
        n: documents.
        design: how much clusters widen: variance of the difference with them over that without.
    """

    name: str
    changed: float
    n: int
    design: float


def seen(folder: Path, task: str, baseline: str) -> list[Seen]:
    """The comparisons of a task in a results folder.

    Raises:
        ValueError: if there is none.
    """
    table = build_table(folder, baseline, [task])
    found = []
    for row in table.rows:
        entry = row.entries.get(task)
        c = entry.pairing.comparison if entry is not None and entry.pairing is not None else None
        if c is None or entry is None or entry.seeds:
            continue
        n = c.difference.n
        changed = (c.gained + c.lost) / n
        plain = (changed - c.difference.value**2) / n
        design = max(1.0, c.error**2 / plain) if c.difference.method == "cluster-robust" and plain else 1.0
        found.append(Seen(f"{row.model} {row.variant}", changed, n, design))
    if not found:
        raise ValueError(f"{folder} holds no comparison with {baseline} on {task}")
    return found


def plan_lines(
    effect: float,
    shares: Sequence[Seen],
    comparisons: int = 1,
    power: float = POWER,
    there: int | None = None,
) -> list[str]:
    """The plan as lines of text.

    Args:
        effect: difference of scores to resolve.
        shares: shares of changing documents to plan for.
        comparisons: how many are made; the level is divided by them, as Holm does for the smallest p.
        power: chance of resolving the effect.
        there: documents that the task has.
    """
    level = ALPHA / comparisons
    rows = []
    for own in shares:
        # At least as many change as the effect has points.
        changed = max(own.changed, effect)
        shown = f"{changed:.1%}" + (f" ({own.changed:.1%} seen)" if changed > own.changed else "")
        n = documents_for(effect, changed, level, power)
        wanted = None if n is None else int(n * own.design + 0.5)
        text = "more than 10,000,000" if wanted is None else f"{wanted:,}"
        enough = "" if there is None or wanted is None else "yes" if wanted <= there else "no"
        has = "" if there is None else f"{mcnemar_power(int(there / own.design), changed, effect, level):.0%}"
        rows.append([own.name, shown, text, has, enough])
    heads = ["", "documents that change", "documents needed"]
    if there is not None:
        heads += [f"power with all {there:,}", "enough"]
    return tabulate([row[: len(heads)] for row in rows], headers=heads, disable_numparse=True).splitlines()


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.report plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--effect", type=float, required=True, help="difference of scores: 0.02 is 2 points")
    parser.add_argument("--task", help="a task of conf/task; says whether it has as many documents")
    parser.add_argument("--documents", type=int, metavar="N", help="documents there are, if they cannot be counted")
    parser.add_argument("--results", type=Path, metavar="DIR", help="take the share of changing documents from there")
    parser.add_argument("--baseline", default="base", help="variant that those in DIR are compared with")
    parser.add_argument("--changed", type=float, help="share of documents that change from right to wrong or back")
    parser.add_argument("--comparisons", type=int, default=1, help="comparisons of the table (Holm)")
    parser.add_argument("--power", type=float, default=POWER, help="chance of resolving it")
    parser.add_argument("--data", default="hub", help="where documents are counted: hub, or mirror (with --root)")
    parser.add_argument("--root", help="folder of the mirror")
    args = parser.parse_args(arguments)
    try:
        if args.comparisons < 1:
            raise ValueError(f"--comparisons {args.comparisons}: at least 1")
        if args.task is not None:
            compose_task(args.task, {})
        if args.results is not None:
            if args.task is None:
                raise ValueError("--results needs --task")
            shares = seen(args.results, args.task, args.baseline)
        else:
            values = [args.changed] if args.changed is not None else [s for s in SHARES if s >= args.effect]
            shares = [Seen("", value, 0, 1.0) for value in values or [args.effect]]
        there, note = args.documents, ""
        if there is None and args.task is not None:
            there, note = documents_of_task(args.task, args.data, args.root)
        if args.effect <= 0 or args.effect > 1:
            raise ValueError(f"--effect {args.effect:g}: a difference of scores, above 0, up to 1 (0.02 is 2 points)")
        if args.changed is not None and not args.effect <= args.changed <= 1:
            raise ValueError(f"--changed {args.changed:g}: at least the effect, at most 1")
        lines = plan_lines(args.effect, shares, args.comparisons, args.power, there)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    level = f"5% level{f', divided by {args.comparisons} comparisons' if args.comparisons > 1 else ''}"
    task = f" on {args.task}" if args.task else ""
    print(f"To resolve {100 * args.effect:g} points{task} with {args.power:.0%} power (exact McNemar, {level}):\n")
    print("\n".join(lines))
    if note:
        print(f"\n{note}")
    return 0
