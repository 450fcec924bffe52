"""Workers and boxes broken on purpose, which the campaigns must catch. Patched in their own process, never in edge.

Example: python -m benchmarks.fuzz.mutants box drops-a-file watch incoming --state state
"""

import hashlib
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

from edge.errors import Unreadable

# Each broken worker, and the kind of violation by which it is caught.
WORKERS = {
    "leaks-a-header-value": "leak",
    "never-returns": "hang",
    "uses-up-the-processor": "cpu",
    "uses-2-gb": "memory",
    "has-no-sandbox": "unconfined",
    "lets-an-exception-escape": "escaped",
    "remembers-the-last-file": "unsteady",
}
# Each broken box, and the check by which it is caught.
BOXES = {
    "drops-a-file": "lost",
    "ends-at-a-bad-file": "exited",
    "logs-the-path": "leak",
    "keeps-the-name": "leak",
    "keeps-every-file-in-memory": "memory",
    "makes-two-results": "twice",
}
_ONE_IN = 10


def chosen(content: bytes) -> bool:
    """A few files, always the same."""
    return hashlib.sha256(content).digest()[0] % _ONE_IN == 0


def worker_command(name: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "benchmarks.fuzz.mutants", "worker", name)


def box_command(name: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "benchmarks.fuzz.mutants", "box", name, "watch")


def break_worker(name: str) -> None:
    """Break this process, which is about to be a worker. Raises KeyError for a mutant that is not known."""
    from edge.imaging import header, sandbox, worker  # noqa: PLC0415 - the campaign itself reads nothing

    intact: Callable[..., Any] = worker.read
    count = itertools.count()

    def careless(harm: Callable[[], object]) -> None:
        def read(content: bytes, **options: Any) -> Any:
            if chosen(content):
                harm()
            return intact(content, **options)

        worker.read = read  # type: ignore[assignment]

    def harm_at_times() -> None:
        def read(content: bytes, **options: Any) -> Any:
            if next(count) % 3 == 2:
                raise Unreadable("the file came at the wrong moment")
            return intact(content, **options)

        worker.read = read  # type: ignore[assignment]

    def hoard() -> None:
        sandbox.confine.__kwdefaults__["heap_bytes"] = 4_000_000_000  # type: ignore[index]
        careless(lambda: len(bytearray(b"\1") * 2_000_000_000))

    breakers: dict[str, Callable[[], object]] = {
        "leaks-a-header-value": lambda: setattr(header, "_shown", str),
        "never-returns": lambda: careless(lambda: time.sleep(3600)),
        "uses-up-the-processor": lambda: careless(_spin),
        "uses-2-gb": hoard,
        "has-no-sandbox": lambda: setattr(sandbox, "confine", list),
        "lets-an-exception-escape": lambda: careless(lambda: {}["a key that is not there"]),  # type: ignore[index]
        "remembers-the-last-file": harm_at_times,
    }
    breakers[name]()


def _spin() -> None:
    started_s = time.process_time()
    while time.process_time() - started_s < 1.5:
        pass


def main() -> None:
    kind, name = sys.argv[1:3]
    if kind == "worker":
        from edge.imaging import worker  # noqa: PLC0415

        break_worker(name)
        del sys.argv[1:3]
        worker.main()
    else:
        from benchmarks.fuzz.broken_boxes import break_box  # noqa: PLC0415
        from edge import cli  # noqa: PLC0415

        break_box(name)
        del sys.argv[1:3]
        cli.main()


if __name__ == "__main__":
    main()
