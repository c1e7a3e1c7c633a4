"""Devices for worker processes, leased by file lock.

The number of a worker says nothing lasting: one that takes a dead worker's place has a new number, and
by number two of them would end on one device while another stands idle. A lock belongs to a process,
and the system gives it back when the process dies, however it dies.

Nothing here imports torch: a worker must know its devices before anything touches CUDA.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

logger = logging.getLogger(__name__)
VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_devices(environ: Mapping[str, str]) -> list[str]:
    """The devices that the caller may use, as `CUDA_VISIBLE_DEVICES` names them (numbers, UUIDs, MIG ids).

    Args:
        environ: the environment; what is named there counts, else every device of the machine.
    """
    if VISIBLE in environ:
        named = [name.strip() for name in environ[VISIBLE].split(",")]
        # CUDA itself ignores everything from the first invalid entry on; -1 is its way to say none.
        valid: list[str] = []
        for name in named:
            if not name or name.startswith("-"):
                break
            valid.append(name)
        return valid
    return [str(i) for i in range(_count())]


def _count() -> int:
    """Devices of the machine, without CUDA."""
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return len(re.findall(r"^GPU \d+:", done.stdout, flags=re.MULTILINE)) if done.returncode == 0 else 0


def slots(devices: Sequence[str], per_worker: int) -> list[tuple[str, ...]]:
    """Devices in groups, one group a worker; what is left over stays unused.

    Raises:
        ValueError: if a worker wants more devices than there are.
    """
    if not 1 <= per_worker <= len(devices):
        raise ValueError(
            f"runtime.gpus_per_worker={per_worker}: {len(devices)} devices are visible ({', '.join(devices) or 'none'})"
        )
    ends = range(per_worker, len(devices) + 1, per_worker)
    return [tuple(devices[end - per_worker : end]) for end in ends]


@dataclass
class Lease:
    """Devices that this process holds until it ends or lets go.

    Attributes:
        devices: their names.
        level: workers that held the same devices already; 0 where there are enough for all.
    """

    devices: tuple[str, ...]
    level: int
    _locks: list[BaseFileLock] = field(repr=False)

    def release(self) -> None:
        """Lets go."""
        for lock in self._locks:
            lock.release()


def lease(groups: Sequence[tuple[str, ...]], folder: Path | None = None) -> Lease:
    """Leases the group that fewest processes of this user hold.

    Args:
        groups: what to choose from; see `slots`.
        folder: where the locks lie; by default one folder a user and machine, so that two sessions that
            run side by side share the devices out as well.
    """
    assert groups and all(groups), "no devices to lease"
    place = folder or Path(tempfile.gettempdir()) / f"variant-harness-{getpass.getuser()}" / "devices"
    place.mkdir(parents=True, exist_ok=True)
    for level in count():
        for group in groups:
            if (locks := _try(group, level, place)) is not None:
                if level:
                    logger.warning("%s is shared with %d other workers", ", ".join(group), level)
                return Lease(tuple(group), level, locks)
    raise AssertionError("levels do not end")


def lease_for(device: str, per_worker: int) -> Lease | None:
    """Leases devices for this process and hides the others from it; None where it needs none.

    Args:
        device: ``runtime.device``; only ``auto`` and ``cuda`` leave the choice to us.
        per_worker: how many.
    """
    visible = visible_devices(os.environ) if device in ("auto", "cuda") else []
    if not visible:
        return None
    leased = lease(slots(visible, per_worker))
    os.environ[VISIBLE] = ",".join(leased.devices)
    return leased


def _try(group: tuple[str, ...], level: int, folder: Path) -> list[BaseFileLock] | None:
    """Locks on every device of a group, or None if another process holds one."""
    held: list[BaseFileLock] = []
    for device in group:
        lock = FileLock(folder / f"{re.sub(r'[^A-Za-z0-9-]', '-', device)}.{level}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            for other in held:
                other.release()
            return None
        held.append(lock)
    return held
