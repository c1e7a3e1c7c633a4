"""Whether the samples of a run of lm-eval are those that its results file speaks of."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.evaluation.cells import Outcome

# Metrics that lm-eval averages over documents, where a task's config does not say otherwise.
MEANS = ("acc", "acc_norm", "acc_mutual_info", "exact_match")


def check_tasks(content: Mapping[str, Any], there: Collection[str], path: Path) -> None:
    """Every task that the results count documents of has samples.

    Args:
        content: of the results file.
        there: tasks with a file of samples.
        path: the results file.

    Raises:
        ValueError: for one that has none.
    """
    if missing := sorted(set(content.get("n-samples") or {}) - set(there)):
        raise ValueError(f"{path} speaks of {', '.join(missing)}, and no samples of it are there")


def check_samples(content: Mapping[str, Any], task: str, outcomes: Sequence[Outcome], path: Path) -> None:
    """The samples are as many as the results say, and have their means.

    Args:
        content: of the results file.
        task: lm-eval's name of it.
        outcomes: its documents.
        path: file of the samples.

    Raises:
        ValueError: if they are others.
    """
    counts = (content.get("n-samples") or {}).get(task)
    told = counts.get("effective") if isinstance(counts, Mapping) else None
    number = len({o.doc_id for o in outcomes})
    if isinstance(told, int) and told != number:
        raise ValueError(f"{path} holds {number} documents, and the run's results speak of {told}")
    said = content["results"].get(task)
    for key in sorted({(m, o.filter) for o in outcomes for m in o.metrics}):
        value = said.get(",".join(key)) if isinstance(said, Mapping) else None
        if not isinstance(value, (int, float)) or not math.isfinite(value) or not _is_mean(content, task, key[0]):
            continue
        own = fmean(o.metrics[key[0]] for o in outcomes if o.filter == key[1] and key[0] in o.metrics)
        if not math.isclose(own, value, rel_tol=1e-6, abs_tol=1e-6):
            raise ValueError(f"{path}: {','.join(key)} is {own:.6g} on average, and the run's results say {value:.6g}")


def _is_mean(content: Mapping[str, Any], task: str, metric: str) -> bool:
    config = (content.get("configs") or {}).get(task)
    listed = config.get("metric_list") if isinstance(config, Mapping) else None
    own = [m for m in listed or [] if isinstance(m, Mapping) and m.get("metric") == metric]
    aggregation = own[0].get("aggregation") if own else None
    return aggregation == "mean" if aggregation is not None else metric in MEANS
