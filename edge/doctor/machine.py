"""What is asked of the machine itself: systemd's unit, the clock, what another user may do. Changes nothing."""

import ctypes
import os
import pwd
import shlex
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import edge
from edge.engines.opening import GpuPlace, find_gpu
from edge.errors import UsageError

UNIT = "edge-cxr.service"
_ASKED = "LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,NeedDaemonReload,User,StatusText,ExecStart"
_LONGEST_ANSWER_S = 10.0
# struct timex of sys/timex.h where a long has 64 bits.
_TIMEX_BYTES, _STATUS_AT, _UNSYNCHRONISED = 208, 40, 0x40


@dataclass(frozen=True)
class Unit:
    """The service as systemd knows it. properties: empty where systemd does not run."""

    properties: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.properties.get(name, "")

    @property
    def installed(self) -> bool:
        return self["LoadState"] not in ("", "not-found")

    @property
    def arguments(self) -> list[str]:
        """Of the daemon's command line. systemd tells no blanks within one from those between two."""
        _, _, line = self["ExecStart"].partition("argv[]=")
        return shlex.split(line.partition(" ;")[0]) if line else []

    @property
    def incoming(self) -> Path | None:
        folder = self.after("watch")
        return None if folder is None else Path(folder)

    def after(self, word: str) -> str | None:
        """The argument that follows this one."""
        words = self.arguments
        return words[words.index(word) + 1] if word in words[:-1] else None


def read_unit() -> Unit:
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return Unit()
    command = ["systemctl", "show", UNIT, f"--property={_ASKED}"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_LONGEST_ANSWER_S)
    except (OSError, subprocess.SubprocessError):
        return Unit()
    lines = (line.partition("=") for line in shown.stdout.splitlines())
    return Unit({name: value for name, _, value in lines})


@dataclass(frozen=True)
class Clock:
    """Seconds of the epoch. synchronised: None where it cannot be told. written_s: when the program came here."""

    now_s: float
    synchronised: bool | None
    written_s: float


def read_clock() -> Clock:
    return Clock(time.time(), synchronised(ctypes.CDLL(None).adjtimex), Path(edge.__file__).stat().st_mtime)


def synchronised(adjtimex: Callable[[Any], int]) -> bool | None:
    """By adjtimex(2), which whoever keeps the clock tells when it is right. None where a sandbox forbids to ask."""
    told = ctypes.create_string_buffer(_TIMEX_BYTES)  # all zero: nothing is to be set
    if adjtimex(told) < 0:
        return None
    (status,) = struct.unpack_from("=i", told.raw, _STATUS_AT)
    return not status & _UNSYNCHRONISED


@dataclass(frozen=True)
class User:
    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str


def user_named(name: str) -> User | None:
    """None when there is no such user."""
    try:
        known = pwd.getpwnam(name)
    except KeyError:
        return None
    return User(known.pw_uid, known.pw_gid, tuple(os.getgrouplist(name, known.pw_gid)), name)


def user_numbered(uid: int) -> User:
    """Of a number without a name nothing else is known."""
    try:
        return user_named(pwd.getpwuid(uid).pw_name) or User(uid, uid, (), str(uid))
    except KeyError:
        return User(uid, uid, (), str(uid))


def may(user: User, path: Path, letters: str) -> bool:
    """Whether the user may read (r), write (w) or search (x) there, by every folder above it and any access list.

    Raises UsageError when this cannot be told to whoever asks.
    """
    if user.uid == os.geteuid():
        wanted = sum({"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[letter] for letter in letters)
        return os.access(path, wanted, effective_ids=True)
    if os.geteuid() != 0:
        raise UsageError(f"what user {user.name} may do there is told to that user and to root alone; "
                         f"run: sudo -u {user.name} edge-cxr doctor")  # fmt: skip
    tests = [word for letter in letters for word in ("-a", f"-{letter}", str(path))][1:]
    as_user = {"user": user.uid, "group": user.gid, "extra_groups": user.groups}
    return subprocess.run(["test", *tests], check=False, cwd="/", **as_user).returncode == 0  # type: ignore[call-overload]


@dataclass(frozen=True)
class Machine:
    """proc, sys: the kernel's folders."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    unit: Callable[[], Unit] = read_unit
    clock: Callable[[], Clock] = read_clock
    user_named: Callable[[str], User | None] = user_named
    may: Callable[[User, Path, str], bool] = may
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs
    find_gpu: Callable[[], GpuPlace] = find_gpu
