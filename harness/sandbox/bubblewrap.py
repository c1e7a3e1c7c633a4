"""A program in namespaces of its own, by bubblewrap: no network, no writable system."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

from harness.sandbox.limits import Execution, Limits
from harness.sandbox.process import check_usable, run_limited

INSTALL = "install it (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap)"


# Users that belong to nobody; a program runs as one of them where we are root, because the kernel
# does not limit the number of root's processes, in whatever namespace.
_FIRST_SPARE_UID, _SPARE_UIDS = 61_000, 4_000
_UID = "{uid}"


@cache
def why_missing() -> str | None:
    """Why bubblewrap cannot be used here, or None if it can."""
    if shutil.which("bwrap") is None:
        return f"bubblewrap is not installed; {INSTALL}"
    probe = _probe(_as_user(_command(), _FIRST_SPARE_UID))
    return None if probe is None else f"bubblewrap is installed but cannot make namespaces here: {probe}"


def _probe(command: tuple[str, ...]) -> str | None:
    """What a command says when it cannot even start an interpreter."""
    done = subprocess.run([*command, sys.executable, "-I", "-c", ""], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()


@cache
def _command() -> tuple[str, ...]:
    """The command before the interpreter: as root with a spare user if we may, else in a user namespace."""
    if os.geteuid() == 0 and shutil.which("setpriv"):
        drop = ("setpriv", "--reuid", _UID, "--regid", _UID, "--clear-groups", "--no-new-privs")
        spaces = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
        caps = ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
        command = ("bwrap", *spaces, *caps, *_view(), *drop)
        if _probe(_as_user(command, _FIRST_SPARE_UID)) is None:
            return command
    # bwrap's own first process would run under the program's user, who could trace it and let it outlive us: here
    # the checker is the first process, which nobody can trace. (A change of user would undo --die-with-parent.)
    user = ("--unshare-all", "--as-pid-1", "--cap-drop", "ALL", "--uid", "65534", "--gid", "65534")
    return ("bwrap", *user, *_view())


def _as_user(command: tuple[str, ...], uid: int) -> tuple[str, ...]:
    return tuple(str(uid) if word == _UID else word for word in command)


def _view() -> tuple[str, ...]:
    """What the program sees: the system's and the interpreter's folders, read-only; a private /tmp."""
    flags = ["--die-with-parent", "--new-session", "--clearenv"]
    flags += ["--setenv", "PATH", "/usr/bin:/bin", "--setenv", "PYTHONHASHSEED", "0", "--setenv", "HOME", "/tmp"]
    # Before the folders below: an environment may lie under /tmp.
    flags += ["--perms", "1777", "--size", str(64 << 20), "--tmpfs", "/tmp"]
    prefixes = {str(Path(p).resolve()) for p in (sys.prefix, sys.base_prefix)} | {sys.prefix, sys.base_prefix}
    # bwrap would make the folders above a prefix for its own user only.
    for parent in sorted({str(up) for prefix in prefixes for up in Path(prefix).parents if str(up) != "/"}):
        flags += ["--perms", "0755", "--dir", parent]
    for path in ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", *sorted(prefixes)):
        flags += ["--ro-bind-try", path, path]
    shared = ("--perms", "1777", "--size", str(64 << 20), "--tmpfs", "/dev/shm")
    return (*flags, "--proc", "/proc", "--dev", "/dev", *shared, "--remount-ro", "/", "--chdir", "/tmp")


class BubblewrapSandbox:
    """No network, a read-only system without the user's files, and the limits."""

    name = "bubblewrap"

    def __init__(self, limits: Limits) -> None:
        reason = why_missing()
        if reason:
            raise ValueError(f"sandbox: {reason}. Or accept resource limits only, with sandbox=process.")
        self.limits = limits
        self._runs = count(os.getpid())
        check_usable(self)

    def run(self, program: str, tests: str = "") -> Execution:
        """Runs a program and its tests; their writable folder is in memory and gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="harness-sandbox-") as folder:
            # Set inside: outside, the limit would count all of the caller's own processes.
            processes = ["prlimit", f"--nproc={self.limits.processes}"] if self.limits.processes else []
            limits = replace(self.limits, processes=0)
            # Another user each time: processes of the last program may still be dying, and would count.
            command = _as_user(_command(), _FIRST_SPARE_UID + next(self._runs) % _SPARE_UIDS)
            return run_limited([*command, *processes], program, tests, limits, Path(folder))
