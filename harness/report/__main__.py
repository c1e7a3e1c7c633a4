"""``python -m harness.report DIR``: renders a results folder again from its stored cells.

``python -m harness.report plan --effect 0.02`` says how many documents resolve an effect,
``python -m harness.report claims DIR ...`` what the results of several folders say of the papers' claims,
``python -m harness.report export DIR --out OUT`` writes them as lm-eval does, ``import RUN`` reads a run of lm-eval's,
``python -m harness.report log DIR --to mlflow|wandb|trackio`` tells a tracker. Each has a ``--help`` of its own.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from harness.evaluation.store import Store
from harness.report import build_table, terminal_text, write_pages
from harness.report.against import against_text, compare_runs
from harness.report.html import write_report
from harness.report.html.source import Source
from harness.report.pages import has_pages
from harness.report.rows import Method
from harness.statistics import ADJUSTMENTS, INTERVALS, TESTS

COMMANDS = {
    "plan": "harness.report.plan",
    "claims": "harness.report.all_claims",
    "export": "harness.report.to_lm_eval",
    "import": "harness.report.from_lm_eval",
    "log": "harness.report.log",
}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if cells are damaged or regressed, 2 if nothing was written."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] and given[0] in COMMANDS:
        # Each brings libraries of its own, which rendering a folder does not need.
        command: int = import_module(COMMANDS[given[0]]).main(given[1:])
        return command
    parser = argparse.ArgumentParser(
        prog="python -m harness.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="results folder, with cells/ in it")
    parser.add_argument("--baseline", default="base", help="variant that the others are compared with")
    parser.add_argument("--tasks", type=_names, help="tasks to show, with commas, in this order")
    parser.add_argument("--variants", type=_names, help="variants to show, with commas, in this order")
    parser.add_argument("--model", type=_names, help="models to show, with commas, in this order")
    parser.add_argument("--claims", type=_names, help="claims to put to the results, with commas, or all")
    parser.add_argument("--sort", metavar="TASK", help="order variants by their score on this task")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the pages there, not over the folder's own")
    parser.add_argument("--adjust", choices=ADJUSTMENTS, default="holm", help="correction over the table's comparisons")
    parser.add_argument("--test", choices=TESTS, default="auto", help="test of a difference; auto: exact McNemar")
    parser.add_argument("--interval", choices=INTERVALS, default="auto", help="of differences; bootstrap: BCa")
    parser.add_argument("--against", type=Path, metavar="OLD", help="results folder of an earlier run to compare with")
    parser.add_argument("--margin", type=float, default=0.0, help="loss that --against allows: 0.01 is a point")
    parser.add_argument("--html", action="store_true", help="write a folder of HTML pages instead (DIR/report)")
    parser.add_argument("--figures", type=Path, action="append", default=[], metavar="DIR", help="figures to show too")
    args = parser.parse_args(given)
    try:
        store = Store(args.folder, keep=args.html)
        method = Method(args.adjust, args.test, args.interval)
        chosen = (args.baseline, args.tasks, args.variants, args.model, args.sort)
        # Circuits and crosscoders have pages of their own, and no cells.
        strict = not (args.html and has_pages(args.folder))
        table = build_table(args.folder, *chosen, strict, method, store)
        if args.html:
            place = args.out or args.folder / "report"
            paths = [write_report(Source(table, store, args.claims), place, args.figures)]
        else:
            paths = write_pages(table, args.out, args.claims)
        against = None if args.against is None else compare_runs(args.folder, args.against, args.margin)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(terminal_text(table))
    print("\nwritten: " + ", ".join(str(p) for p in paths))
    if against is not None:
        print(f"\n{against_text(against)}")
    return int(bool(table.damaged or (against is not None and against.regressions)))


if __name__ == "__main__":
    sys.exit(main())
