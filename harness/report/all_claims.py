"""``python -m harness.report claims DIR ...``: every claim that the results of several folders decide, on one page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.claims import NOT_DECIDED, ClaimVerdict, asked_of, judge_claim
from harness.config.claims import Claim, claim_names, compose_claims
from harness.evaluation.store import Store
from harness.files import write_text
from harness.report.claims import claims_section, level_text
from harness.statistics import ALPHA

BESIDE = ("delta", "circuits", "crosscoder")


def judged_folders(folders: Sequence[Path], asked: Any = "all") -> tuple[list[ClaimVerdict], list[str], list[str]]:
    """Verdicts on every claim that the folders hold the measurements of, judged together.

    Args:
        folders: results folders.
        asked: claims by name, or ``all``.

    Returns:
        The verdicts; the claims that no folder measured; and what is wrong: damaged cells, what cannot be compared.

    Raises:
        ValueError: for an unknown claim, or a folder without results.
    """
    names = claim_names(asked)
    found: list[tuple[Path, Claim, Store]] = []
    problems: list[str] = []
    apart: dict[tuple[str, str], str] = {}
    for folder in folders:
        models, damaged = _models(folder)
        problems += damaged
        if not models:
            told = "".join(f"; {problem}" for problem in damaged)
            raise ValueError(f"{folder} holds no results (cells, delta, circuits or crosscoder){told}")
        store = Store(folder, keep=True)
        claims = compose_claims(names, models)
        known = {(c.name, c.model) for _, c, _ in found}
        # What several folders measured is shown of the first one.
        for claim in [c for c in claims if (c.name, c.model) not in known]:
            verdict = judge_claim(folder, claim, ALPHA, store)
            if verdict.parts:
                found.append((folder, claim, store))
            elif verdict.verdict == NOT_DECIDED:
                apart[claim.name, claim.model] = f"{claim.name}, {claim.model} in {folder}: {verdict.text}"
    level = ALPHA / max(1, len(found))
    verdicts = [judge_claim(folder, claim, level, store) for folder, claim, store in found]
    measured = {(v.claim.name, v.claim.model) for v in verdicts}
    problems += [text for key, text in apart.items() if key not in measured]
    seen = {name for name, _ in (*measured, *apart)}
    return verdicts, [name for name in names if name not in seen], problems


def _models(folder: Path) -> tuple[list[str], list[str]]:
    """Models of the cells, else of what stands beside them; and what is wrong with the cells."""
    results, damaged = Store(folder).readable(outcomes=False)
    names = dict.fromkeys(r.name.model for r in results)
    if not names:
        names = dict.fromkeys(asked_of(folder).models)
    if not names:
        names = dict.fromkeys(p.name for kind in BESIDE for p in sorted((folder / kind).glob("*")) if p.is_dir())
    return list(names), damaged


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if something is wrong with what is stored, 2 if nothing was read."""
    parser = argparse.ArgumentParser(prog="python -m harness.report claims", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="results folders")
    parser.add_argument("--claims", default="all", help="claims, with commas, or all")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the page there too")
    args = parser.parse_args(arguments)
    try:
        verdicts, missing, problems = judged_folders(args.folders, args.claims)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for v in verdicts:
        print(f"{v.claim.name}, {v.claim.model}: {v.text}")
    if verdicts:
        print(f"{len(verdicts)} claims, each judged at the {level_text(verdicts)} level")
    if missing:
        print(f"not measured: {', '.join(missing)}")
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    if args.out:
        rest = [f"Not measured here: {', '.join(f'`{name}`' for name in missing)}.", ""] if missing else []
        how = ["Written by `python -m harness.report claims` from the results of the claims' experiments.", ""]
        rest += [*(f"- ⚠ left out: {problem}" for problem in problems), ""] if problems else []
        write_text(args.out, "\n".join([*claims_section(verdicts, "# Claims"), *rest, *how]))
        print(f"written: {args.out}")
    return int(bool(problems))
