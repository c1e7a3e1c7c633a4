"""The claims of a run: what they need is run first, then they are put to the stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from harness.after import Extra
from harness.claims import NOT_MEASURED, ClaimVerdict, judge_claim, judge_claims, keep_asked, missing_cells
from harness.config.claims import BESIDE, Claim, claim_names, compose_claims
from harness.evaluation.bench import Bench
from harness.evaluation.cells import CellName, file_name
from harness.evaluation.grid import Grid, PlannedCell, models_of
from harness.evaluation.store import Store
from harness.files import write_text
from harness.levels import judge_run
from harness.report.claims import claims_section
from harness.statistics import ALPHA


def claims_of(grid: Grid) -> list[Claim]:
    """Every claim of a run, for each of its models."""
    run = grid.run
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
    level = ALPHA / len(claims_of(bench.grid))
    if why := left_out(bench.grid, bench.store, claim):
        keep_asked(Path(run.results.dir), claim_names(run.claims), models_of(run))
        return ClaimVerdict(claim, NOT_MEASURED, (), level, why=why)
    for planned in needed_cells(bench.grid, claim):
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
    return judge_claim(Path(run.results.dir), claim, level)


def left_out(grid: Grid, store: Store, claim: Claim) -> str:
    """Why a run cannot decide a claim: cells that it neither runs nor finds stored; empty where there are none."""
    if not claim.of_cells:
        return ""
    there = {name for cell in needed_cells(grid, claim) for name in _names_of(cell)}
    missing = [name for name in missing_cells(store, claim) if (name.variant, name.task) not in there]
    if not missing:
        return ""
    told = ", ".join(str(name) for name in missing)
    return f"this run leaves out {told}, and {store.folder} has not stored {'them' if missing[1:] else 'it'}"


def undecided(grid: Grid, claims: Sequence[Claim]) -> list[str]:
    """A line for each claim that a run cannot decide, known before anything runs."""
    store = Store(Path(grid.run.results.dir), keep=True)
    lines = []
    for claim in claims:
        with suppress(ValueError):  # a damaged cell: the verdict says so
            if why := left_out(grid, store, claim):
                lines.append(f"claim {claim.name}, {claim.model}, will not be measured: {why}")
    return lines


def _names_of(cell: PlannedCell) -> set[tuple[str, str]]:
    """Names by which a claim may mean a cell: with its settings and seed, and without."""
    return {(_plain(cell), cell.name.task), (cell.name.variant, cell.name.task)}


def _plain(cell: PlannedCell) -> str:
    return cell.name.variant.partition("(")[0].partition("~")[0]


def needed_cells(grid: Grid, claim: Claim) -> list[PlannedCell]:
    """Those of the run's cells that a claim reads, or that judging its levels learns from."""
    if not claim.of_cells:
        return []
    names = {(name, task) for variant, against, task in claim.pairs for name in (variant, against)}
    levels = grid.run.levels.tasks if claim.config.measure.startswith("level") else []

    def is_needed(cell: PlannedCell) -> bool:
        if cell.name.model != claim.model:
            return False
        teaches = _plain(cell) == "base" and cell.name.task.partition("(")[0] in levels
        return teaches or bool(_names_of(cell) & names)

    return [cell for cell in grid.cells if is_needed(cell)]


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
    run, claims = bench.grid.run, claims_of(bench.grid)
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
