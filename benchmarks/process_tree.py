"""Memory and CPU time of a process and of all that descend from it, as Linux tells them in /proc."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM, _ENDED_USER, _ENDED_SYSTEM = 1, 11, 12, 13, 14  # after the name in /proc/PID/stat (proc(5))


@dataclass(frozen=True)
class Usage:
    """A process and its workers, which are all its descendants.

    rss_bytes, peak_bytes: VmRSS and VmHWM of the process itself. workers_rss_bytes: VmRSS of its workers together;
    memory that they share is counted in each. cpu_s: of all, those included that have ended and were waited for.
    """

    rss_bytes: int
    peak_bytes: int
    workers: int
    workers_rss_bytes: int
    cpu_s: float


def usage_of(pid: int) -> Usage:
    """Raises FileNotFoundError when there is no such process."""
    own = _status(pid)
    workers = list(descendants(pid))
    held = [_status_or_none(worker) for worker in workers]
    cpu_s = _cpu_s(pid) + sum(_cpu_s_or_0(worker) for worker in workers)
    resident = [status["VmRSS"] for status in held if status is not None]
    return Usage(own["VmRSS"], own["VmHWM"], len(resident), sum(resident), cpu_s)


def descendants(pid: int) -> Iterator[int]:
    """Children, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                children.setdefault(int(_stat(int(entry.name))[_PARENT]), []).append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            yield child
            waiting.append(child)


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold blanks and brackets itself."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return sum(int(fields[at]) for at in (_USER, _SYSTEM, _ENDED_USER, _ENDED_SYSTEM)) * _TICK_S


def _cpu_s_or_0(pid: int) -> float:
    try:
        return _cpu_s(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _status(pid: int) -> dict[str, int]:
    """VmRSS and VmHWM in bytes; 0 for a process that is about to end."""
    found = {"VmRSS": 0, "VmHWM": 0}
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0]) * 1024
    return found


def _status_or_none(pid: int) -> dict[str, int] | None:
    try:
        return _status(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
