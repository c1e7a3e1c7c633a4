"""The five circuit tasks: clean prompts and their corrupt twins, for any tokenizer or as text."""

from harness.circuits.tasks.pairs import Pair
from harness.circuits.tasks.sets import METRICS, TASKS, TaskSets, draw_sets

__all__ = ["METRICS", "TASKS", "Pair", "TaskSets", "draw_sets"]
