"""Working through a cell part by part, beside other processes that do the same.

No process is told what to do: each takes the next part that is neither finished nor in other hands.
So one that is idle helps where there is work, one that is killed leaves its part to the others, and two
runs of one results folder share its cells out instead of repeating them.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress

from harness.engine import Plans
from harness.evaluation.asked import AskedStore
from harness.evaluation.cells import CellResult, file_name
from harness.evaluation.claims import Claims
from harness.evaluation.identity import Cell
from harness.evaluation.journal import Journal, State
from harness.evaluation.parts import Part, PartStore, Share
from harness.evaluation.runner import documents_of, merge, run_part
from harness.evaluation.store import Store

logger = logging.getLogger(__name__)


class Work:
    """A session's work on the cells of a results folder.

    Args:
        store: the results folder.
        claims: locks and markers.
        journal: of the session.
        fresh: what earlier sessions stored does not count.
    """

    def __init__(self, store: Store, claims: Claims, journal: Journal, fresh: bool) -> None:
        self._store, self._claims, self._journal, self._fresh = store, claims, journal, fresh
        self._asked = AskedStore(store.folder)

    def stored(self, cell: Cell) -> CellResult | None:
        """The cell's result if it is stored with the same identity."""
        result = self._store.get(cell.name)
        if result is None or result.digest != cell.digest:
            return None
        return None if self._fresh and result.settings.get("session") != self._journal.session else result

    def finish(self, cell: Cell, cuts: int, plans: Plans) -> CellResult:
        """Does what is left of a cell, waits for what others do of it, and stores it.

        Args:
            cell: the cell.
            cuts: into how many parts to cut it, if it is not cut yet.
            plans: encoded requests of the base.
        """
        if (result := self.stored(cell)) is not None:
            logger.info("%s: stored already, not run again", cell.name)
            return self._settled(result)
        while True:
            self.help(cell, cuts, plans)
            parts = self._parts(cell, cuts)
            for part in parts:
                # Free when whoever works on it is done, or dead.
                self._do(cell, part, plans, wait=True)
            with self._claims.claim(cell.name, f"{self._key(cell)}-merge", wait=True):
                if (result := self.stored(cell)) is not None:
                    return self._settled(result)
                shares = [self._store_of(cell).get(part) for part in parts]
                whole = [share for share in shares if share is not None]
                if len(whole) == len(parts) > 0:
                    return self._put(cell, whole)
                logger.warning("%s: a part of it cannot be read and is run again", cell.name)

    def help(self, cell: Cell, cuts: int, plans: Plans) -> list[Part]:
        """Does those parts of a cell that nobody works on.

        Returns:
            The parts that were done.
        """
        return [part for part in self._parts(cell, cuts) if self._do(cell, part, plans, wait=False)]

    def _put(self, cell: Cell, shares: list[Share]) -> CellResult:
        result, outcomes = merge(cell, shares)
        # Another run of this folder may ask for the same name with other settings.
        with self._claims.claim(cell.name, file_name(str(cell.name)), wait=True):
            self._store.put(result, outcomes)
        with suppress(OSError), self._claims.claim(cell.name, f"{self._key(cell)}-cut", wait=True):
            self._store_of(cell).clear()
        return self._settled(result)

    def _settled(self, result: CellResult) -> CellResult:
        """The cell is stored: nothing that goes wrong from here on takes it back."""
        with suppress(OSError):
            self._store.forget_failure(result.name)
            self._journal.note(result.name, "done")
        return result

    def _parts(self, cell: Cell, cuts: int) -> list[Part]:
        # Texts that depend on their batch would be others in other parts.
        documents, wanted = sum(documents_of(cell).values()), 1 if cell.by_batch else cuts
        with self._claims.claim(cell.name, f"{self._key(cell)}-cut", wait=True):
            return [] if self.stored(cell) is not None else self._store_of(cell).cut(documents, wanted)

    def _do(self, cell: Cell, part: Part, plans: Plans, wait: bool) -> bool:
        with self._claims.claim(cell.name, f"{self._key(cell)}-{part.start}", wait) as free:
            # Looked at under the lock: whoever had it may have finished the part, or the whole cell.
            if not free or self._store_of(cell).get(part) is not None or self.stored(cell) is not None:
                return False
            logger.info("%s: documents %d to %d", cell.name, part.start, part.stop)
            documents = part.stop - part.start
            self._tell(cell, "running", documents)
            share = run_part(cell, part, plans)
            self._asked.add(cell.name.task, share.asked)
            self._store_of(cell).put(share)
            self._tell(cell, "part", documents)
            return True

    def _tell(self, cell: Cell, state: State, documents: int) -> None:
        """Notes for who watches; a full disk is no reason to stop."""
        device = str(cell.base.model.device)
        if cell.base.model.device.type == "cuda" and (visible := os.environ.get("CUDA_VISIBLE_DEVICES")):
            device = f"cuda {visible}"
        worker = os.environ.get("PYTEST_XDIST_WORKER", f"pid {os.getpid()}")
        with suppress(OSError):
            self._journal.note(cell.name, state, json.dumps([worker, device, documents]))

    def _key(self, cell: Cell) -> str:
        return cell.digest[:24] + (f"-{self._journal.session}" if self._fresh else "")

    def _store_of(self, cell: Cell) -> PartStore:
        return PartStore(self._store.folder / ".parts" / self._key(cell))
