"""``python -m harness``: the same grid through Hydra; ``-m`` sweeps any key."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

os.environ.setdefault("HYDRA_FULL_ERROR", "0")

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

from harness.config.compose import compose_run, open_keys, register, search_path_override, typed_run
from harness.config.offline import settle_offline
from harness.config.paths import CONF
from harness.config.schema import RunConfig


def run_grid(run: RunConfig, command: str = "") -> int:
    """Runs every cell of a run, writes its table, and returns the number of cells that did not pass.

    Raises:
        ValueError: for a run that cannot work.
    """
    from harness.evaluation.bench import Bench, share_threads
    from harness.evaluation.grid import plan_grid
    from harness.evaluation.logs import log_to
    from harness.report import build_table, terminal_text, write_pages

    grid = plan_grid(run)
    share_threads(run.runtime)
    bench = Bench(grid, command)
    folder = Path(run.results.dir)
    log_to(folder, "main")
    if run.dry_run:
        print("\n\n".join(dict.fromkeys(bench.plan(c) for c in grid.cells)))
        return 0
    failed = reused = 0
    for number, planned in enumerate(grid.cells, 1):
        print(f"[{number}/{len(grid.cells)}] {planned.name} ...", end=" ", flush=True)
        try:
            evaluated = bench.evaluate(planned)
            if run.export is not None:
                bench.export_once(planned, Path(run.export))
        except (ValueError, RuntimeError, OSError) as error:
            # The other cells run on, as other cases do under pytest.
            failed += 1
            print(f"failed: {error}")
            continue
        result = evaluated.result
        failed += bool(evaluated.broken)
        reused += evaluated.reused
        spent = "stored already" if evaluated.reused else f"{result.seconds:.1f} s"
        print(f"{result.metric} {100 * result.score:.1f} (n={result.n}, {spent})", *evaluated.broken, sep="; ")
    if not any(bench.store):
        print("no cell was finished, so there is no table")
        return failed
    table = build_table(folder, run.baseline, strict=False)
    paths = write_pages(table)
    print(
        f"\n{terminal_text(table)}\n\n{len(grid.cells) - reused - failed} cells run, "
        f"{reused} stored already{f', {failed} did not pass' if failed else ''}"
    )
    print("written: " + ", ".join(str(p) for p in paths))
    return failed


# Keys that a cell's name shows by itself, or that do not change what it holds.
_NAMED = ("model", "variants", "tasks", "variant.", "task.", "results.", "baseline", "tag", "gates.", "experiment")


def _swept_tag() -> str:
    """``seed=2`` for a job of a multirun over seeds: without it the jobs would replace each other's cells."""
    job = HydraConfig.get()
    if job.mode != RunMode.MULTIRUN:
        return ""
    swept = {
        o.key_or_group
        for o in OverridesParser.create().parse_overrides([t for t in open_keys(_TYPED) if "=" in t])
        if _sweeps(o)
    }
    pairs = (text.lstrip("+").partition("=") for text in job.overrides.task)
    return ",".join(f"{k}={v}" for k, _, v in sorted(pairs) if k in swept and not k.startswith(_NAMED))


def _sweeps(override: Override) -> bool:
    return override.is_sweep_override()


def _say(problem: str) -> None:
    """A problem of one job: noted, so that a sweep goes on, or raised where another process runs the job."""
    if os.getpid() != _MAIN:
        raise RuntimeError(problem)
    print(problem, file=sys.stderr)
    _PROBLEMS.append(problem)


@hydra.main(version_base=None, config_path=str(CONF), config_name="harness")
def _app(config: DictConfig) -> None:
    command = shlex.join(["python", "-m", "harness", *_TYPED])
    try:
        run = typed_run(config)
        run.tag = run.tag or _swept_tag()
        failed = run_grid(run, command)
    except ValueError as error:
        _say(f"error: {error}")
        return
    except KeyboardInterrupt:
        sys.exit("interrupted; finished cells are stored, the same command goes on from there")
    if failed:
        _say(f"{failed} cells did not pass")


_MAIN = os.getpid()
_TYPED: list[str] = []
_PROBLEMS: list[str] = []


def main() -> None:
    """Hands the command line to Hydra, with open keys and a user's own ``conf/``."""
    _TYPED[:] = sys.argv[1:]
    settle_offline()
    # Before lm-eval is imported: bars would break the lines that say what runs.
    os.environ.setdefault("TQDM_DISABLE", "1")
    register()
    try:
        if not any(t.startswith("-") for t in _TYPED):
            compose_run(_TYPED)  # our own words for mistakes, with what is valid
        sys.argv[1:] = [*open_keys(_TYPED), *search_path_override()]
    except ValueError as error:
        sys.exit(f"error: {error}")
    _app()
    sys.exit(1 if _PROBLEMS else 0)


if __name__ == "__main__":
    main()
