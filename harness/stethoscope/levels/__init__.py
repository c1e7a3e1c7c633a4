"""Output levels I to IV (Shao & Wu, "Who Reasons in the Large Language Models?", section 2.2), judged by a stated rule.

The paper's authors read answers: I is not language, II is language that has nothing to do with the task, III is about
the task and wrong, IV is right. Here IV is what the task's own scorer calls right, and the others follow from
likelihoods under the base model, with thresholds that the base's own answers set.
"""

from harness.stethoscope.levels.agreement import Agreement, agreement, confusion
from harness.stethoscope.levels.asked import AskedJudge
from harness.stethoscope.levels.features import Features, Reader
from harness.stethoscope.levels.labelled import Example, halves, labelled_set
from harness.stethoscope.levels.rule import LEVELS, Thresholds, calibrate, degenerate, level_of

__all__ = [
    "LEVELS",
    "Agreement",
    "AskedJudge",
    "Example",
    "Features",
    "Reader",
    "Thresholds",
    "agreement",
    "calibrate",
    "confusion",
    "degenerate",
    "halves",
    "labelled_set",
    "level_of",
]
