"""The daemons of mutants.py: each breaks one promise. Patched in the daemon's process, never in edge."""

import functools
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edge.intake
import edge.stages
from edge.inbox import Pace
from edge.stages import Taken, Write

_EVERY = 10
_HOARD_BYTES = 2_000_000


def break_box(name: str) -> None:
    """Break this process, which is about to be a daemon. Raises KeyError for a mutant that is not known."""
    turn = itertools.cycle(range(_EVERY))  # not by the digest: of a small wave it may choose none
    breakers: dict[str, Callable[[], None]] = {
        "drops-a-file": lambda: _instead(lambda write, taken: None if next(turn) == 0 else write(taken)),
        "ends-at-a-bad-file": lambda: _instead(lambda write, taken: _fail() if next(turn) == 0 else write(taken)),
        "logs-the-path": lambda: _instead(_log_path),
        "keeps-the-name": _keep_names,
        "keeps-every-file-in-memory": _hoard,
        "makes-two-results": _write_twice,
    }
    breakers[name]()
    # The box waits 5 s for a sender who may still be writing: here that is most of a proof.
    edge.intake.Pace = functools.partial(Pace, look_s=0.05, still_s=0.3)  # type: ignore[misc,assignment]


def _instead(step: Callable[[Callable[[Taken], None], Taken], object]) -> None:
    """Write does something else; `write` is what it would have done."""
    intact = Write.__call__

    def broken(write: Write, taken: Taken) -> None:
        step(lambda each: intact(write, each), taken)

    Write.__call__ = broken  # type: ignore[method-assign]


def _fail() -> None:
    raise RuntimeError("a file that the box did not expect")


def _log_path(write: Callable[[Taken], None], taken: Taken) -> None:
    sys.stderr.buffer.write(b"wrote " + os.fsencode(taken.sighting.path) + b"\n")
    write(taken)


def _hoard() -> None:
    kept: list[bytes] = []

    def hoard(write: Callable[[Taken], None], taken: Taken) -> None:
        kept.append(os.urandom(16) * (_HOARD_BYTES // 16))
        write(taken)

    _instead(hoard)


def _keep_names() -> None:
    """In the result and in the ledger."""
    encode, names = edge.stages.encode, []

    def named(report: Any) -> str:
        document = {**json.loads(encode(report)), "file": names[-1]}
        return json.dumps(document) + "\n"

    def remember(write: Callable[[Taken], None], taken: Taken) -> None:
        names.append(taken.sighting.path.name)
        write(taken)

    edge.stages.encode = named
    _instead(remember)


def _write_twice() -> None:
    write_result = edge.stages.write_result

    def twice(folder: Path, case_id: str, document: str) -> None:
        write_result(folder, case_id, document)
        (folder.parent / "again").mkdir(exist_ok=True)
        shutil.copy(folder / f"{case_id}.json", folder.parent / "again")

    edge.stages.write_result = twice
