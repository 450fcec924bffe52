"""System calls -> a Disk: what a record of strace did to the folders that the disk knows."""

import os
import re
from dataclasses import dataclass

from benchmarks.durability.disk import Disk, File, Folder
from benchmarks.durability.strace import Call

_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
# Calls that would change a disk in ways this module does not follow: better to stop than to prove too much.
_UNKNOWN = frozenset(
    {"writev", "pwritev", "pwritev2", "truncate", "fallocate", "copy_file_range", "sendfile", "creat", "symlink",
     "symlinkat", "renameat", "mkdirat", "dup2", "dup3"}
)  # fmt: skip
# Shared memory of the ledger: written through a mapping that no call shows. SQLite makes it anew after a power cut.
_NOT_KEPT = "-shm"
_HELD = re.compile(r"/proc/self/fd/(\d+)(.*)")  # a folder that is held open, and what lies below it


@dataclass
class _Open:
    node: File | Folder
    path: str
    offset: int = 0
    appends: bool = False


class Replay:
    """Applies calls to a disk, one process at a time."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._open: dict[int, _Open] = {}

    def next_process(self) -> None:
        """A process has ended, and with it what it had open; its unsynced writes stay."""
        self._open.clear()

    def apply(self, call: Call) -> bool:
        """True when the disk, or what of it lasts, has changed. Raises ValueError for a call that is not followed."""
        if call.returned < 0:
            return False
        strings = [bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(call.arguments)]
        paths = [self._path(os.fsdecode(text)) for text in strings]
        if any(path.endswith(_NOT_KEPT) for path in paths[:1] if call.name != "write" and call.name != "pwrite64"):
            return False
        match call.name:
            case "openat":
                return self._opened(call, self._below(call, paths[0]))
            case "openat2":
                return self._opened(call, self._below(call, paths[0]))
            case "dup":
                if (opened := self._open.get(_number(call.arguments, 0))) is not None:
                    self._open[call.returned] = opened
                return False
            case "close":
                self._open.pop(_number(call.arguments, 0), None)
                return False
            case "lseek":
                return self._sought(call)
            case "write" | "pwrite64" | "ftruncate" | "fsync" | "fdatasync":
                return self._on_descriptor(call, strings)
            case "mkdir" | "unlink" | "rmdir" | "unlinkat" | "rename" | "renameat2" | "link" | "linkat":
                return self._on_names(call.name, paths)
        if call.name in _UNKNOWN and any(self.disk.find(os.path.dirname(path)) for path in paths):  # noqa: PTH120
            raise ValueError(f"the replay does not follow {call.name}; teach it to")
        return False

    def _path(self, path: str) -> str:
        """As it was opened, for one below a held folder."""
        held = _HELD.fullmatch(path)
        opened = self._open.get(int(held[1])) if held else None
        return path if held is None or opened is None else opened.path + held[2]

    def _below(self, call: Call, path: str) -> str:
        """For openat and openat2: an absolute path, whatever folder it begins at."""
        begins = call.arguments.split(",")[0]
        opened = self._open.get(int(begins)) if begins.isdigit() else None
        return path if opened is None else os.path.normpath(os.path.join(opened.path, path))  # noqa: PTH118

    def _opened(self, call: Call, path: str) -> bool:
        node, changed = self.disk.find(path), False
        self._open.pop(call.returned, None)
        parent = self.disk.find(os.path.dirname(path))  # noqa: PTH120 - text, as the kernel had it
        if node is None and isinstance(parent, Folder) and "O_CREAT" in call.arguments:
            node, changed = File(), True
            self.disk.add(path, node)
        if node is None:
            return False
        if isinstance(node, File) and "O_TRUNC" in call.arguments:
            node.unsynced.append((0, None))
            changed = True
        self._open[call.returned] = _Open(node, path, appends="O_APPEND" in call.arguments)
        return changed

    def _sought(self, call: Call) -> bool:
        opened = self._open.get(_number(call.arguments, 0))
        if opened is not None:
            opened.offset = call.returned
        return False

    def _on_descriptor(self, call: Call, strings: list[bytes]) -> bool:
        opened = self._open.get(_number(call.arguments, 0))
        if opened is None:
            return False
        node = opened.node
        if isinstance(node, Folder):
            self.disk.sync_folder(node)
        elif call.name in ("fsync", "fdatasync"):
            node.sync()
        elif call.name == "ftruncate":
            node.unsynced.append((_number(call.arguments, -1), None))
        elif call.name == "pwrite64":
            node.unsynced.append((_number(call.arguments, -1), strings[0][: call.returned]))
        else:
            offset = len(node.whole()) if opened.appends else opened.offset
            node.unsynced.append((offset, strings[0][: call.returned]))
            opened.offset = offset + call.returned
        return True

    def _on_names(self, call: str, paths: list[str]) -> bool:
        if not isinstance(self.disk.find(os.path.dirname(paths[-1])), Folder):  # noqa: PTH120
            return False
        if call == "mkdir":
            self.disk.add(paths[0], Folder())
        elif call in ("rename", "renameat2"):
            self.disk.rename(*paths)
        elif call in ("link", "linkat"):
            node = self.disk.find(paths[0])
            assert node is not None
            self.disk.add(paths[1], node)
        else:
            self.disk.remove(paths[0])
        return True


def _number(arguments: str, place: int) -> int:
    return int(_STRING.sub("", arguments).split(",")[place].strip())
