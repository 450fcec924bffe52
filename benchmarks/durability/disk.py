"""A disk that may lose power: what was synced is there, of the rest any subset that a filesystem may keep.

The rules, harsher than any one filesystem's:
- a file's bytes last from fsync or fdatasync of that file on; of later writes any may be there, whole, torn at sectors
  of 512 bytes, or with whatever lay on the disk before where the file had grown;
- a name lasts from fsync of its folder on, a new file's and a new folder's name too; of later changes to a folder the
  first ones may be there, never a later one without those before it;
- a rename from one folder to another is there for both or for neither, as in every journal.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

SECTOR_BYTES = 512
_Change = tuple["Folder", str, "File | Folder | None"]


@dataclass(eq=False)
class File:
    """synced: what lasts. unsynced: (offset, bytes) of a write, or (length, None) of a truncation, in order."""

    synced: bytes = b""
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)
    delivered: str | None = None  # the input that it was made as

    def whole(self) -> bytes:
        content = bytearray(self.synced)
        for offset, written in self.unsynced:
            _apply(content, offset, written)
        return bytes(content)

    def sync(self) -> None:
        if self.unsynced:
            self.synced = self.whole()
            self.unsynced.clear()

    def after_power_cut(self, rng: random.Random) -> bytes:
        how = rng.choice(("none", "all", "some", "sectors", "garbage"))
        if not self.unsynced or how == "none":
            return self.synced
        if how == "all":
            return self.whole()
        content = bytearray(self.synced)
        for offset, written in self.unsynced:
            if how == "some" or written is None:
                if rng.random() < 0.5:
                    _apply(content, offset, written)
                continue
            for start in range(offset - offset % SECTOR_BYTES, offset + len(written), SECTOR_BYTES):
                first, last = max(start, offset), min(start + SECTOR_BYTES, offset + len(written))
                if rng.random() < 0.5:
                    _apply(content, first, written[first - offset : last - offset])
                elif how == "garbage" and first >= len(content):
                    _apply(content, first, rng.randbytes(last - first))
        return bytes(content)


@dataclass(eq=False)
class Folder:
    """entries: as programs see them now. changes: every change that is not yet known to last, in order."""

    entries: dict[str, "File | Folder"] = field(default_factory=dict)
    lasting: dict[str, "File | Folder"] = field(default_factory=dict)
    changes: list["NameChange"] = field(default_factory=list)


@dataclass(eq=False)
class NameChange:
    """One call on names: what it set in each folder that it touched; None where it took a name away."""

    sets: tuple[_Change, ...]

    @property
    def folders(self) -> list[Folder]:
        return list(dict.fromkeys(folder for folder, _, _ in self.sets))


class Disk:
    """Paths are absolute; the folders handed in at the start are there for good, with all that was put into them."""

    def __init__(self, *roots: str) -> None:
        self._roots = {PurePosixPath(root): Folder() for root in roots}

    def put(self, path: str, content: bytes) -> None:
        """A file that was there before, safely."""
        folder, name = self._place(path)
        folder.entries[name] = folder.lasting[name] = File(content, delivered=name)

    def find(self, path: str) -> "File | Folder | None":
        """None for what is not there, or not on this disk."""
        spot = PurePosixPath(path)
        if spot in self._roots:
            return self._roots[spot]
        parent = self.find(str(spot.parent)) if any(root in spot.parents for root in self._roots) else None
        return parent.entries.get(spot.name) if isinstance(parent, Folder) else None

    def add(self, path: str, node: "File | Folder") -> None:
        self._change((*self._place(path), node))

    def remove(self, path: str) -> None:
        self._change((*self._place(path), None))

    def rename(self, old: str, new: str) -> None:
        node = self.find(old)
        assert node is not None, "renamed what the disk does not know"
        self._change((*self._place(old), None), (*self._place(new), node))

    def sync_folder(self, folder: Folder) -> None:
        """Its changes last from now on; a rename takes the changes before it in its other folder along."""
        for change in list(folder.changes):
            self._make_last(change)

    def seen(self) -> dict[str, bytes]:
        """Every file as programs see it."""
        walked = _walk(self._roots, lambda folder: folder.entries)
        return {path: node.whole() for path, node in walked if isinstance(node, File)}

    def after_power_cut(self, rng: random.Random) -> "Crashed":
        """One of the states in which a power cut at this moment may leave the disk."""
        kept = {folder: self._kept(folder, rng) for folder in self._all_folders()}
        self._agree(kept)
        after = {folder: self._names_after(folder, count) for folder, count in kept.items()}
        content: dict[File, bytes] = {}

        def bytes_of(file: File) -> bytes:
            if file not in content:  # two names of one file hold the same bytes
                content[file] = file.after_power_cut(rng)
            return content[file]

        files, folders = {}, []
        for path, node in _walk(self._roots, lambda folder: after[folder]):
            if isinstance(node, Folder):
                folders.append(path)
            else:
                files[path] = (bytes_of(node), node.delivered)
        return Crashed(files, folders)

    def _place(self, path: str) -> tuple[Folder, str]:
        spot = PurePosixPath(path)
        parent = self.find(str(spot.parent))
        assert isinstance(parent, Folder), "a name in a folder that the disk does not know"
        return parent, spot.name

    def _change(self, *sets: _Change) -> None:
        change = NameChange(sets)
        for folder, name, node in sets:
            if node is None:
                folder.entries.pop(name, None)
            else:
                folder.entries[name] = node
        for folder in change.folders:
            folder.changes.append(change)

    def _make_last(self, change: NameChange) -> None:
        for folder in change.folders:
            while change in folder.changes:
                first = folder.changes[0]
                if first is not change:
                    self._make_last(first)
                    continue
                folder.changes.pop(0)
                _set_names(folder, first, folder.lasting)

    def _all_folders(self) -> list[Folder]:
        found: dict[Folder, None] = dict.fromkeys(self._roots.values())
        unseen = list(found)
        while unseen:
            folder = unseen.pop()
            reachable = [*folder.entries.values(), *folder.lasting.values()]
            reachable += [node for change in folder.changes for _, _, node in change.sets if node is not None]
            for node in reachable:
                if isinstance(node, Folder) and node not in found:
                    found[node] = None
                    unseen.append(node)
        return list(found)

    def _kept(self, folder: Folder, rng: random.Random) -> int:
        """How many of its changes are there."""
        count = len(folder.changes)
        return rng.choice((0, count, rng.randint(0, count)))

    def _agree(self, kept: dict[Folder, int]) -> None:
        """A rename between two folders is in both or in neither: the shorter one decides, until nothing changes."""
        settled = False
        while not settled:
            settled = True
            for folder, count in kept.items():
                for position, change in enumerate(folder.changes[:count]):
                    if any(change in other.changes[kept[other] :] for other in change.folders):
                        kept[folder], settled = position, False
                        break

    def _names_after(self, folder: Folder, count: int) -> dict[str, "File | Folder"]:
        names = dict(folder.lasting)
        for change in folder.changes[:count]:
            _set_names(folder, change, names)
        return names


@dataclass(frozen=True)
class Crashed:
    """What lies on the disk when power is back. files: path to bytes, and the input that it was made as."""

    files: dict[str, tuple[bytes, str | None]]
    folders: list[str]


def _set_names(folder: Folder, change: NameChange, names: dict[str, File | Folder]) -> None:
    for place, name, node in change.sets:
        if place is not folder:
            continue
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _walk(
    roots: dict[PurePosixPath, Folder], names_of: Callable[[Folder], dict[str, File | Folder]]
) -> Iterator[tuple[str, File | Folder]]:
    unseen: list[tuple[PurePosixPath, File | Folder]] = list(roots.items())
    while unseen:
        path, node = unseen.pop()
        yield str(path), node
        if isinstance(node, Folder):
            unseen += [(path / name, below) for name, below in names_of(node).items()]


def _apply(content: bytearray, offset: int, written: bytes | None) -> None:
    if written is None:  # a truncation; it may lengthen
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(written)] = written
