"""Starting a command under limits, in a session of its own, and reading a bounded output."""

from __future__ import annotations

import contextlib
import os
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

# The program reports its own end with a word it cannot know beforehand: `sys.exit(0)` or
# `os._exit(0)` in the middle is not a pass.
_WRAPPER = """{program}

import sys as _sys
_sys.stdout.flush()
_sys.stderr.write({token!r})
_sys.stderr.flush()
"""


def set_limits(limits: Limits) -> Callable[[], None]:
    """A function for the child, called before the program starts."""

    def apply() -> None:
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


def run_limited(command: Sequence[str], program: str, limits: Limits, cwd: Path) -> Execution:
    """Runs ``command`` with the program on its standard input.

    Args:
        command: what to start; it must read the program from standard input.
        program: Python source.
        limits: what it may use.
        cwd: working folder.
    """
    token = f"<<finished {secrets.token_hex(16)}>>"
    source = _WRAPPER.format(program=program, token=token)
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=set_limits(limits),
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(source.encode("utf-8", "replace"))
            process.stdin.close()
        tail, timed_out = _read_tail(process, limits, started)
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
    text = tail.decode("utf-8", "replace")
    code = process.returncode
    return Execution(_verdict(text, code, timed_out, token), code, text.replace(token, ""), time.monotonic() - started)


def _read_tail(process: subprocess.Popen[bytes], limits: Limits, started: float) -> tuple[bytes, bool]:
    """The last kept bytes of the output, and whether time ran out while it was open."""
    assert process.stdout is not None
    keep, tail = limits.output_kb * 1024, bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = limits.seconds - (time.monotonic() - started)
            if left <= 0:
                return bytes(tail), True
            if not selector.select(left):
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return bytes(tail), False
            tail += chunk
            del tail[:-keep]


def _verdict(text: str, code: int, timed_out: bool, token: str) -> Verdict:
    if timed_out:
        return "timeout"
    if code == 0 and token in text:
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

    def run(self, program: str) -> Execution:
        """Runs the program in a temporary folder of its own."""
        # The limit counts every process of the user, whose others we do not know: it is left out.
        limits = replace(self.limits, processes=0)
        with tempfile.TemporaryDirectory(prefix="harness-sandbox-") as folder:
            return run_limited([sys.executable, "-I", "-"], program, limits, Path(folder))
