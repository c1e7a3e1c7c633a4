"""When the work on a cell has to be over."""

from __future__ import annotations

import time


class Deadline:
    """Looked at by every loop that works on a cell, between two of its batches or documents.

    A signal would not do: graders use the process's only alarm for themselves and switch it off.

    Args:
        seconds: from now; None for no deadline.
        what: what is being worked on, for the error.
    """

    def __init__(self, seconds: float | None = None, what: str = "") -> None:
        self._seconds, self._what = seconds, what
        self._started = time.monotonic()

    def check(self, where: str = "") -> None:
        """Raises a TimeoutError if the time is up.

        Args:
            where: how far the work is, for the error.
        """
        spent = time.monotonic() - self._started
        if self._seconds is not None and spent > self._seconds:
            raise TimeoutError(
                f"{self._what} passed its deadline: {spent:.1f} s of runtime.cell_deadline={self._seconds:g}"
                f"{f', {where}' if where else ''}. What parts it finished are kept; raise the deadline and run again"
            )
