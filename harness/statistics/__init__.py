"""Intervals, paired comparisons, corrections for many of them, and what data could have resolved.

Everything is computed on outcomes by document. Documents that belong together (an MMLU subject, an
IOI template) widen the intervals through cluster-robust standard errors.
"""

from harness.statistics.bootstrap import paired_bootstrap
from harness.statistics.estimates import (
    ALPHA,
    MIN_CLUSTERS,
    POWER,
    Estimate,
    cluster_standard_error,
    is_binary,
    mean_interval,
)
from harness.statistics.multiple import ADJUSTMENTS, adjust, benjamini_hochberg, holm
from harness.statistics.paired import INTERVALS, TESTS, Comparison, compare
from harness.statistics.power import documents_for, mcnemar_power, needed
from harness.statistics.verdicts import DIRECTIONS, Found, Judgement, judge, resolve

__all__ = [
    "ADJUSTMENTS",
    "ALPHA",
    "DIRECTIONS",
    "INTERVALS",
    "MIN_CLUSTERS",
    "POWER",
    "TESTS",
    "Comparison",
    "Estimate",
    "Found",
    "Judgement",
    "adjust",
    "benjamini_hochberg",
    "cluster_standard_error",
    "compare",
    "documents_for",
    "holm",
    "is_binary",
    "judge",
    "mcnemar_power",
    "mean_interval",
    "needed",
    "paired_bootstrap",
    "resolve",
]
