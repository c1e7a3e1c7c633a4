"""A progress bar that counts tokens, so that its estimate of the time left is worth something."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from tqdm import tqdm

from harness.engine.deadline import Deadline


class Progress:
    """Documents done, tokens per second and the time left.

    Args:
        what: what is being done, shown in front.
        tokens: tokens to compute, or at most to compute.
        documents: documents (or texts) to do.
        unit: what they are called.
        disabled: show nothing; also where ``TQDM_DISABLE`` is set.
        deadline: looked at whenever there is progress.
    """

    def __init__(
        self,
        what: str,
        tokens: int,
        documents: int,
        unit: str = "documents",
        disabled: bool = False,
        deadline: Deadline | None = None,
    ) -> None:
        self._deadline = deadline or Deadline()
        self._documents, self._done, self._unit = documents, 0, unit
        self._tokens = 0
        self._bar = tqdm(
            total=tokens,
            desc=what,
            unit=" tokens",
            unit_scale=True,
            disable=disabled or os.environ.get("TQDM_DISABLE", "0") not in ("", "0"),
            file=sys.stderr,
            mininterval=0.2 if sys.stderr.isatty() else 10.0,  # a log file wants fewer lines
            bar_format="{desc}: {percentage:3.0f}% {bar:20}{postfix}, {rate_fmt}, {remaining} left",
        )
        self._show()

    def update(self, tokens: int, documents: int | None = None) -> None:
        """Adds tokens that were computed; without ``documents`` their share is estimated from the tokens."""
        self._tokens += tokens
        if documents is not None:
            self._done += documents
        elif self._bar.total:
            self._done = round(self._documents * self._tokens / self._bar.total)
        self._show()
        self._bar.update(tokens)
        self._deadline.check(f"{self._done} of {self._documents} {self._unit}")

    def expect(self, tokens: int) -> None:
        """Adds tokens to the total."""
        if self._bar.total is not None:
            self._bar.total += tokens

    def skip(self, tokens: int) -> None:
        """Takes tokens off the total: a text that ended before its limit needs no more."""
        if self._bar.total is not None:
            self._bar.total -= tokens

    def _show(self) -> None:
        self._bar.set_postfix_str(f"{min(self._done, self._documents)}/{self._documents} {self._unit}", refresh=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
