"""Starting a command under limits, in a session of its own, and reading a bounded output."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.sandbox.limits import Execution, Limits, Sandbox, Verdict

_HERE = Path(__file__).parent
# One text for an interpreter that knows nothing of this package.
_INSIDE = (_HERE / "plain.py").read_text(encoding="utf-8") + "".join(
    line
    for line in (_HERE / "inside.py").read_text(encoding="utf-8").splitlines(keepends=True)
    if not line.startswith(("from __future__", "from harness"))
)
_KEYCTL = {"x86_64": 250, "aarch64": 219}  # numbers of the system call, by machine


def set_limits(limits: Limits) -> Callable[[], None]:
    """A function for the child, called before the program starts."""

    def apply() -> None:
        _join_new_keyring()
        megabyte = 1 << 20
        # CPU time a little above the wall clock: a second line should the parent be stopped.
        cpu = int(limits.seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_mb * megabyte,) * 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_mb * megabyte,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if limits.processes:
            resource.setrlimit(resource.RLIMIT_NPROC, (limits.processes,) * 2)

    return apply


def _join_new_keyring() -> None:
    """The caller's session keyring (tokens, Kerberos tickets) is out of reach of what is started from here."""
    if (number := _KEYCTL.get(platform.machine())) is not None:
        ctypes.CDLL(None).syscall(number, 1, None)


def run_limited(prefix: Sequence[str], program: str, tests: str, limits: Limits, cwd: Path) -> Execution:
    """Runs a program and its tests, each in a process of its own (see `harness.sandbox.inside`).

    Args:
        prefix: what goes before the interpreter.
        program: Python source.
        tests: Python source that calls what the program defines.
        limits: what they may use.
        cwd: working folder.
    """
    secret = secrets.token_hex(32)
    job = {"program": program, "tests": tests, "secret": secret}
    started = time.monotonic()
    process = subprocess.Popen(
        [*prefix, sys.executable, "-I", "-c", _INSIDE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=set_limits(limits),
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
        # The secret comes alone on its stream; everything that is printed goes to the other.
        keep = {process.stdout.fileno(): 2 * len(secret), process.stderr.fileno(): limits.output_kb * 1024}
        tails, timed_out = _read_tails(keep, limits.seconds, started)
        if not timed_out:
            try:
                process.wait(timeout=max(0.05, limits.seconds - (time.monotonic() - started)))
            except subprocess.TimeoutExpired:
                timed_out = True
    finally:
        # The whole group: a program's own children must not outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()
    said, text = (tail.decode("utf-8", "replace") for tail in tails)
    code = process.returncode
    passed = code == 0 and secrets.compare_digest(said.encode(), secret.encode())
    return Execution(_verdict(passed, text, code, timed_out), code, text, time.monotonic() - started)


def _read_tails(keep: dict[int, int], seconds: float, started: float) -> tuple[list[bytes], bool]:
    """The last kept bytes of each stream, and whether time ran out while one was open."""
    tails = {stream: bytearray() for stream in keep}
    with selectors.DefaultSelector() as selector:
        for stream in keep:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = seconds - (time.monotonic() - started)
            if left <= 0:
                return [bytes(tail) for tail in tails.values()], True
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fd)
                tails[key.fd] += chunk
                del tails[key.fd][: -keep[key.fd]]
    return [bytes(tail) for tail in tails.values()], False


def _verdict(passed: bool, text: str, code: int, timed_out: bool) -> Verdict:
    if timed_out:
        return "timeout"
    if passed:
        return "passed"
    if "MemoryError" in text:
        return "memory"
    return "killed" if code < 0 or code >= 128 else "failed"


def check_usable(sandbox: Sandbox) -> None:
    """Raises a ValueError if not even an empty program passes: every answer would count as wrong."""
    result = sandbox.run("")
    if not result.passed:
        raise ValueError(
            f"sandbox {sandbox.name}: an empty program does not pass ({result.verdict}): "
            f"{result.output.strip()[-300:]}. "
            "Are the limits of sandbox.* too tight?"
        )


class ProcessSandbox:
    """Resource limits only: the program can read what this user can read, and use the network."""

    name = "process"

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        warnings.warn(
            "sandbox=process sets resource limits but isolates nothing: model-written programs can read "
            "your files and use the network. Install bubblewrap and use sandbox=bubblewrap.",
            stacklevel=2,
        )
        check_usable(self)

    def run(self, program: str, tests: str = "") -> Execution:
        """Runs a program and its tests in a temporary folder of their own."""
        # The limit counts every process of the user, whose others we do not know: it is left out.
        limits = replace(self.limits, processes=0)
        with tempfile.TemporaryDirectory(prefix="harness-sandbox-") as folder:
            return run_limited([], program, tests, limits, Path(folder))
