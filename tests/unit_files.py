"""The units in systemd/ as a test reads them: settings in systemd's order, and the system calls that a unit allows."""

import subprocess
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "systemd"
SERVICES = sorted(path.name for path in FOLDER.glob("*.service"))
TIMERS = sorted(path.name for path in FOLDER.glob("*.timer"))


def settings(unit: str, key: str) -> list[str]:
    """Every value of a key, the unit's own first and then its drop-ins' by file name, as systemd reads them."""
    lines = [line for path in _parts(unit) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def setting(unit: str, key: str) -> str:
    """The last one counts."""
    return settings(unit, key)[-1]


def allowed_calls(unit: str) -> set[str]:
    """What SystemCallFilter= of a unit comes to: lists add, and lists that begin with ~ take away again."""
    allowed: set[str] = set()
    for filtered in settings(unit, "SystemCallFilter"):
        named = {call for name in filtered.removeprefix("~").split() for call in calls_of(name)}
        allowed = allowed - named if filtered.startswith("~") else allowed | named
    return allowed | set(calls_of("@default"))


@cache
def calls_of(name: str) -> frozenset[str]:
    """A system call, or all of a set, as this machine's systemd has it."""
    if not name.startswith("@"):
        return frozenset({name})
    command = ["systemd-analyze", "syscall-filter", name]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    names = [line.strip() for line in told.stdout.splitlines() if line.startswith("    ") and "#" not in line]
    return frozenset(call for inner in names for call in calls_of(inner))


def _parts(unit: str) -> list[Path]:
    one_shot = unit.startswith("edge-cxr-") and unit.endswith(".service")
    folders = [f"{unit}.d", "edge-cxr-.service.d"] if one_shot else [f"{unit}.d"]
    drop_ins = [path for folder in folders for path in (FOLDER / folder).glob("*.conf")]
    return [FOLDER / unit, *sorted(drop_ins, key=lambda path: path.name)]
