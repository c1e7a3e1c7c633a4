"""What the processes that work through one grid together have in common."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from harness.evaluation.schedule import Schedule


def new_session() -> str:
    """A name that no other session has."""
    return f"{os.getpid()}-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True)
class Session:
    """One process's view of its session.

    Attributes:
        name: the same in all of its processes.
        plan: order and parts; None cuts nothing.
        log: this process's log file, whose end is shown should it be killed.
    """

    name: str = field(default_factory=new_session)
    plan: Schedule | None = None
    log: Path | None = None
