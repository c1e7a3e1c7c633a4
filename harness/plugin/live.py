"""The live view below pytest's own lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.plugin.session import GRID, session_name

VIEW: pytest.StashKey[Any] = pytest.StashKey()
STREAM: pytest.StashKey[Any] = pytest.StashKey()


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Shows what runs, where a person watches: in the controller, for all its workers."""
    config = session.config
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if hasattr(config, "workerinput") or GRID not in config.stash or reporter is None or config.option.collectonly:
        return
    if config.getoption("usepdb", False):
        return  # a debugger wants the terminal for itself
    from harness.evaluation.journal import Journal
    from harness.evaluation.schedule import estimate_seconds
    from harness.live import LiveView, is_wanted
    from harness.plugin.xdist import timings

    grid, writer = config.stash[GRID], reporter._tw
    if grid.run.dry_run or not is_wanted(grid.run.live, writer._file):
        return
    known = timings(config)
    estimates = {str(c.name): estimate_seconds(c, grid.run.limit, known) for c in grid.cells}
    view = LiveView(Journal(Path(grid.run.results.dir), session_name(config)), estimates, writer._file)
    config.stash[VIEW], config.stash[STREAM] = view, writer._file
    # What pytest writes appears above the view, which rich draws again below it.
    writer._file = _Above(view.console, writer._file)
    config.add_cleanup(view.stop)  # also where the session ends before its end
    view.start()


def stop_live(config: pytest.Config) -> None:
    """Takes the view away and gives pytest its terminal back; harmless where there is none."""
    if VIEW not in config.stash:
        return
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    rest = reporter._tw._file.rest
    config.stash[VIEW].stop()
    reporter._tw._file = config.stash[STREAM]
    reporter._tw._file.write(rest)
    del config.stash[VIEW]


class _Above:
    """A terminal whose lines appear above the view, whole: rich's own proxy takes ``[name]`` for markup.

    Args:
        console: of the view.
        stream: the terminal, for all that is not written.
    """

    def __init__(self, console: Any, stream: Any) -> None:
        self.rest = ""
        self._console, self._stream = console, stream

    def write(self, text: str) -> int:
        from rich.text import Text

        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            # What pytest writes over itself (collecting ...) ends behind the last return.
            self._console.print(Text.from_ansi(line.rstrip("\r").rpartition("\r")[2]), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Lines are shown when they are whole."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
