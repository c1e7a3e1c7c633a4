"""The live view in a real terminal, and none where nobody watches."""

import os
import pty
import re
import sys

import pytest
from plugin.test_sessions import pytest_run

from harness.config.paths import SUITES

OPTIONS = ("--tasks", "lab_arc", "--limit", "6", "--variants", "base,oproj_zeroed", "--results", "r")


def in_a_terminal(folder, *command, **environment):
    """What a program writes to a terminal, without its escape codes, and its exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST") and k != "CI"}
        os.execvpe(command[0], command, {**kept, "TERM": "xterm", "COLUMNS": "140", **environment})
    text = b""
    while True:
        try:
            read = os.read(terminal, 4096)
        except OSError:
            break
        if not read:
            break
        text += read
    _, status = os.waitpid(pid, 0)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode(errors="replace")), os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_a_person_sees_what_runs_beside_pytests_lines(tmp_path, workers):
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(SUITES), *OPTIONS, *workers, "-v")
    text, status = in_a_terminal(tmp_path, *command)
    assert status == 0, text
    assert re.search(r"0 of 2 cells", text)
    assert "test_lab_arc[lab-base-base]" in text  # no markup
    assert "PASSED acc" in text
    assert "2 cells run" in text.splitlines()[-3] + text.splitlines()[-2]


def test_the_other_entry_shows_it_too(tmp_path):
    command = (sys.executable, "-m", "harness", "tasks=[lab_arc]", "limit=6", "variants=[base]", "results.dir=r")
    text, status = in_a_terminal(tmp_path, *command)
    assert status == 0, text
    assert "0 of 1 cells" in text
    assert "[1/1] lab-base/base/lab_arc ... acc" in text


@pytest.mark.parametrize("quiet", [{"CI": "true"}, {"TERM": "dumb"}])
def test_ci_is_quiet(tmp_path, quiet):
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(SUITES), *OPTIONS)
    text, status = in_a_terminal(tmp_path, *command, **quiet)
    assert status == 0, text
    assert " of 2 cells" not in text


def test_a_pipe_is_quiet_unless_asked(tmp_path):
    assert " of 2 cells" not in pytest_run(tmp_path, *OPTIONS).stdout
    assert " of 2 cells" in pytest_run(tmp_path, *OPTIONS, "--live", "--fresh").stdout
