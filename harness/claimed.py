"""The claims of a run: what they need is run first, then they are put to the stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from harness.after import Extra
from harness.claims import ClaimVerdict, judge_claim, judge_claims, keep_asked
from harness.config.claims import BESIDE, Claim, claim_names, compose_claims
from harness.evaluation.bench import Bench
from harness.evaluation.cells import CellName, file_name
from harness.evaluation.grid import PlannedCell, models_of
from harness.files import write_text
from harness.levels import judge_run
from harness.report.claims import claims_section
from harness.statistics import ALPHA


def claims_of(bench: Bench) -> list[Claim]:
    """Every claim of a run, for each of its models."""
    run = bench.grid.run
    return compose_claims(run.claims, models_of(run))


def claim_verdict(bench: Bench, claim: Claim, extras: Sequence[Extra]) -> ClaimVerdict:
    """The verdict on one claim of a run; what it needs of the run's cells and extras is there afterwards.

    Args:
        bench: of the run.
        claim: one of its claims.
        extras: what the run measures beside its cells.

    Raises:
        ValueError: if something that it needs cannot be run.
    """
    run = bench.grid.run
    for planned in needed_cells(bench, claim):
        bench.evaluate(planned)
    reads_levels = claim.config.measure.startswith("level") and run.levels.tasks
    if reads_levels and (problems := judge_run(bench, lambda text: None)):
        raise ValueError("; ".join(problems))
    if not claim.of_cells:
        kind = BESIDE[claim.config.measure]
        for extra in extras:
            if extra.kind == kind:
                measure_once(bench, extra)
    keep_asked(Path(run.results.dir), claim_names(run.claims), models_of(run))
    return judge_claim(Path(run.results.dir), claim, ALPHA / len(claims_of(bench)))


def needed_cells(bench: Bench, claim: Claim) -> list[PlannedCell]:
    """Those of the run's cells that a claim reads, or that judging its levels learns from."""
    if not claim.of_cells:
        return []
    names = {(name, task) for variant, against, task in claim.pairs for name in (variant, against)}
    levels = bench.grid.run.levels.tasks if claim.config.measure.startswith("level") else []

    def is_needed(cell: PlannedCell) -> bool:
        plain = cell.name.variant.partition("(")[0].partition("~")[0]
        task = cell.name.task
        if cell.name.model != claim.model:
            return False
        teaches = plain == "base" and task.partition("(")[0] in levels
        return teaches or bool({(plain, task), (cell.name.variant, task)} & names)

    return [cell for cell in bench.grid.cells if is_needed(cell)]


def measure_once(bench: Bench, extra: Extra) -> str | None:
    """Measures something beside the cells, unless a process of this session did or does.

    Returns:
        What was done, in a line; None if it was done already.
    """
    name = CellName(extra.kind, extra.name, "beside")
    locks = bench.store.folder / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{file_name(str(name))}.lock"):
        if bench.journal.settled(name):
            return None
        line = extra.measure()
        bench.journal.note(name, "done")
        return line


def tell_claims(bench: Bench, say: Callable[[str], None]) -> list[ClaimVerdict]:
    """Puts a run's claims to its stored results, says each verdict and writes ``claims.md``.

    Args:
        bench: of a run whose cells are stored and judged.
        say: is told line by line.
    """
    run, claims = bench.grid.run, claims_of(bench)
    if not claims:
        return []
    folder = Path(run.results.dir)
    keep_asked(folder, claim_names(run.claims), models_of(run))
    verdicts = judge_claims(folder, claims)
    for found in verdicts:
        say(f"claim {found.claim.name}, {found.claim.model}: {found.text}")
    write_text(folder / "claims.md", "\n".join(claims_section(verdicts, "# Claims")))
    say(f"written: {folder / 'claims.md'}")
    return verdicts
