"""strace on one thread of a box, or on all: records the write-side calls, kills at one of them, or makes it fail."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# What changes a disk, or makes a change last. openat only where it creates or empties.
WRITE_SIDE = (
    "write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "truncate", "fallocate", "copy_file_range",
    "sendfile", "openat", "creat", "fsync", "fdatasync", "sync_file_range", "msync", "rename", "renameat", "renameat2",
    "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat", "chmod", "fchmod",
    "fchmodat",
)  # fmt: skip
_FOLLOWED = (*WRITE_SIDE, "openat2", "close", "lseek", "dup", "dup2", "dup3")
_ALL_BYTES = str(1 << 26)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>")
_ENDED = re.compile(r"(\w+)\((.*)\) += (-?(?:0x)?[0-9a-f]+|\?)")


@dataclass(frozen=True)
class Call:
    """One system call that came to its end. arguments: as strace prints them, strings in \\x form."""

    tid: int
    name: str
    arguments: str
    returned: int
    injected: bool = False

    @property
    def writes(self) -> bool:
        """True for a call of the write side."""
        if self.name == "openat":
            return "O_CREAT" in self.arguments or "O_TRUNC" in self.arguments
        return self.name in WRITE_SIDE


def is_installed() -> bool:
    return shutil.which("strace") is not None


def recorder(tid: int, log: Path, *, inject: str | None = None) -> "subprocess.Popen[bytes]":
    """Write every call of the thread and of those it begins to `log`, with all bytes."""
    more = () if inject is None else ("-e", f"inject={inject}")
    return _attach(tid, "-f", "-xx", "-s", _ALL_BYTES, "-e", f"trace={','.join(_FOLLOWED)}", *more, "-o", str(log))


def injector(tid: int, injection: str, log: Path, *, also: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
    """Do to one thread what strace's -e inject= says: `rename:signal=SIGKILL:when=3`, `fsync:error=EIO:when=1`.

    strace counts the calls of each thread by itself: what another thread does moves nothing. also: further calls that
    the log shows; file descriptors are shown with their paths.
    """
    shown = ",".join(dict.fromkeys((injection.split(":", maxsplit=1)[0], *also)))
    return _attach(tid, "-ttt", "-y", "-s", "0", "-e", f"trace={shown}", "-e", f"inject={injection}", "-o", str(log))


def witness(tid: int, log: Path, calls: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Show the calls of one thread with paths, and change nothing."""
    return _attach(tid, "-ttt", "-y", "-s", "0", "-e", f"trace={','.join(calls)}", "-o", str(log))


def calls(log: Path) -> Iterator[Call]:
    """The calls of a record, in the order in which they came to their end; what a crash cut off is left out.

    A close counts from its begin: the number may be another file's before strace sees its end.
    """
    begun: dict[int, str] = {}
    for line in log.read_text(encoding="ascii", errors="replace").splitlines():
        tid, _, rest = line.partition(" ")
        rest = rest.lstrip()
        if rest.endswith("<unfinished ...>"):
            begun[int(tid)] = rest.removesuffix("<unfinished ...>").rstrip()
            if rest.startswith("close("):
                yield Call(int(tid), "close", rest[6:].split()[0].rstrip(")"), 0)
            continue
        if resumed := _RESUMED.match(rest):
            if resumed[1] == "close":
                continue
            rest = begun.pop(int(tid), "") + rest[resumed.end() :]
        if ended := _ENDED.match(rest):
            returned = int(ended[3], 0) if ended[3] != "?" else -1
            yield Call(int(tid), ended[1], ended[2], returned, "(INJECTED)" in rest)


def _attach(tid: int, *arguments: str) -> "subprocess.Popen[bytes]":
    command = ["strace", "-q", "-e", "signal=none", *arguments, "-p", str(tid)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
