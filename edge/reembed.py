"""After a change of bundle: archived cases of earlier bundles are asked for again, one by one, while the box is idle.

Embeddings of two bundles never mix, so without this the new one finds only what it has judged itself. Each case goes
the way of `edge-cxr requeue`: its new report stands beside the earlier one, which stays as it is.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.case_files import radiographs_of
from edge.outputs.durable import make_folder, move_durably
from edge.state import StateFolder, files_held
from edge.upkeep import AskedCase, Upkeep

BY = "daemon"  # in the audit log
_LOOK_S = 2.0
_PAGE = 500


def reembed_when_idle(
    state: StateFolder,
    bundle_id: str,
    over: threading.Event,
    *,
    is_idle: Callable[[], bool],
    warn: Callable[[str], None],
    look_s: float = _LOOK_S,
) -> None:
    """Work of a thread, until `over` is set or every archived case has been judged by this bundle.

    is_idle: whether nothing is taken and has no result yet. A radiograph that arrives has at most one of these before
    it. warn: told of a file that is not its case's any more: judged again, it would be a case that nobody sent. Cut
    short at any point, the next start goes on: what was asked for is in `requeued`, or asked for again. Raises
    StateError when the ledger or the disk fails.
    """
    with Upkeep(state.ledger, site_key=state.site_key) as ledger:
        for case, path in _due(state, ledger, bundle_id):
            while not over.wait(look_s):
                if is_idle() and not _has_files(state.requeued):
                    break
            if over.is_set():
                return
            if not _holds(path, case):
                warn(f"the archived file of case {case.case_id} is gone or has other bytes than were judged, and the "
                     "case is not judged again; check the disk, and restore the file")  # fmt: skip
                continue
            _ask_again(case, path, state, ledger)


def _due(state: StateFolder, ledger: Upkeep, bundle_id: str) -> Iterator[tuple[AskedCase, Path]]:
    """The latest first, with their files: some hundred at a time, as there may be a million."""
    below = None
    while page := ledger.scored_by_others(bundle_id, below=below, most=_PAGE):
        files = dict(radiographs_of(state.archive, {case.case_id for case in page.values()}))
        yield from ((case, files[case.case_id]) for case in page.values() if case.case_id in files)
        below = min(page)


def _holds(path: Path, case: AskedCase) -> bool:
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == case.sha256
    except OSError:
        return False


def _ask_again(case: AskedCase, path: Path, state: StateFolder, ledger: Upkeep) -> None:
    make_folder(state.requeued)
    with files_held(state):  # nobody may forget it, or remove its file, in between
        if case not in ledger.cases(case.case_id) or not path.exists():
            return
        # First: a file that is taken while its case is still called finished would just be put away again.
        ledger.ask_again([case.sha256], by=BY)
        with contextlib.suppress(FileNotFoundError):
            move_durably(path, state.requeued / path.name)


def _has_files(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except FileNotFoundError:
        return False
