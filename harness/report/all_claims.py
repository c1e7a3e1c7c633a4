"""``python -m harness.report claims DIR ...``: every claim that the results of several folders decide, on one page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.claims import ClaimVerdict, asked_of, judge_claim
from harness.config.claims import Claim, claim_names, compose_claims
from harness.evaluation.store import Store
from harness.files import write_text
from harness.report.claims import claims_section
from harness.statistics import ALPHA

BESIDE = ("delta", "circuits", "crosscoder")


def judged_folders(folders: Sequence[Path], asked: Any = "all") -> tuple[list[ClaimVerdict], list[str]]:
    """Verdicts on every claim that the folders hold the measurements of, judged together.

    Args:
        folders: results folders.
        asked: claims by name, or ``all``.

    Returns:
        The verdicts, and the claims that no folder decides.

    Raises:
        ValueError: for an unknown claim, or a folder without results.
    """
    names = claim_names(asked)
    found: list[tuple[Path, Claim, Store]] = []
    for folder in folders:
        models = _models(folder)
        if not models:
            raise ValueError(f"{folder} holds no results (cells, delta, circuits or crosscoder)")
        store = Store(folder, keep=True)
        claims = compose_claims(names, models)
        known = {(c.name, c.model) for _, c, _ in found}
        # What several folders measured is shown of the first one.
        new = [c for c in claims if (c.name, c.model) not in known]
        found += [(folder, c, store) for c in new if judge_claim(folder, c, ALPHA, store).parts]
    level = ALPHA / max(1, len(found))
    verdicts = [judge_claim(folder, claim, level, store) for folder, claim, store in found]
    measured = {v.claim.name for v in verdicts}
    return verdicts, [name for name in names if name not in measured]


def _models(folder: Path) -> list[str]:
    """Models of the cells; of what stands beside them, where there are no cells."""
    results, _ = Store(folder).readable(outcomes=False)
    names = dict.fromkeys(r.name.model for r in results)
    if not names:
        names = dict.fromkeys(asked_of(folder).models)
    if not names:
        names = dict.fromkeys(p.name for kind in BESIDE for p in sorted((folder / kind).glob("*")) if p.is_dir())
    return list(names)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m harness.report claims", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="results folders")
    parser.add_argument("--claims", default="all", help="claims, with commas, or all")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the page there too")
    args = parser.parse_args(arguments)
    try:
        verdicts, missing = judged_folders(args.folders, args.claims)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for v in verdicts:
        print(f"{v.claim.name}, {v.claim.model}: {v.text}")
    if missing:
        print(f"not measured: {', '.join(missing)}")
    if args.out:
        rest = [f"Not measured here: {', '.join(f'`{name}`' for name in missing)}.", ""] if missing else []
        how = ["Written by `python -m harness.report claims` from the results of the claims' experiments.", ""]
        write_text(args.out, "\n".join([*claims_section(verdicts, "# Claims"), *rest, *how]))
        print(f"written: {args.out}")
    return 0
