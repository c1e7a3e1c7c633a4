"""What a bench sets up in its process."""

from __future__ import annotations

import os

import pytest
import torch

from harness.config.schema import RuntimeConfig
from harness.evaluation.bench import share_threads


@pytest.mark.parametrize(
    ("asked", "workers", "bound", "threads"),
    [
        (None, "1", None, 4),
        (None, "3", None, 1),
        (None, "1", "3", 3),
        (None, "2", "8", 2),
        (7, "2", "1", 7),
        (None, "9", "", 1),
    ],
)
def test_threads_are_shared_out_within_the_bound(monkeypatch, asked, workers, bound, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", workers)
    monkeypatch.delenv("OMP_NUM_THREADS") if bound is None else monkeypatch.setenv("OMP_NUM_THREADS", bound)
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    share_threads(RuntimeConfig(threads=asked))
    assert seen == [threads]
