"""``python -m harness``: the same grid through Hydra; ``-m`` sweeps any key."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

os.environ.setdefault("HYDRA_FULL_ERROR", "0")

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from harness.config.compose import compose_run, open_keys, register, search_path_override, typed_run
from harness.config.offline import settle_offline
from harness.config.paths import CONF
from harness.run import run_grid
from harness.sweep import SWEEP_PROBLEMS, finish_abandoned, swept_keys, tag_of


@hydra.main(version_base=None, config_path=str(CONF), config_name="harness")
def _app(config: DictConfig) -> str:
    """One run, or one job of a sweep; returns what went wrong in a sentence, so that a sweep goes on."""
    job = HydraConfig.get()
    sweeping = job.mode == RunMode.MULTIRUN
    overrides = list(job.overrides.task)
    command = shlex.join(["python", "-m", "harness", *(overrides if sweeping else _TYPED)])
    try:
        run = typed_run(config, overrides)
        if sweeping:
            run.tag = run.tag or tag_of(overrides, swept_keys(Path(job.sweep.dir)))
            print(f"job {job.job.num}: {shlex.join(overrides)}", flush=True)
        failed = run_grid(run, command, alone=not sweeping)
        problem = f"{failed} cells did not pass" if failed else ""
    except ValueError as error:
        problem = f"error: {error}"
    except KeyboardInterrupt:
        sys.exit("interrupted; finished cells are stored, the same command goes on from there")
    if problem and not sweeping:
        print(problem, file=sys.stderr)
        _PROBLEMS.append(problem)
    return problem


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
    try:
        _app()
    except SystemExit as error:
        finish_abandoned()
        sys.exit(1 if SWEEP_PROBLEMS else error.code)
    sys.exit(1 if _PROBLEMS or SWEEP_PROBLEMS else 0)


if __name__ == "__main__":
    main()
