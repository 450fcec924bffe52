"""What identifies a patient in the files made here, and whether any of it stands where it must not."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WORD = "CANARY"  # in every identifying text, tag and file name of the corpus
NUMBER = "770088990011223344"  # in every identifying UID and number
_MARKS = tuple(mark.encode(encoding) for mark in (WORD, WORD.lower(), NUMBER)
               for encoding in ("ascii", "utf-16-le", "utf-16-be"))  # fmt: skip
_CHUNK_BYTES = 1 << 20
_LONGEST = max(map(len, _MARKS))


@dataclass(frozen=True)
class Sighted:
    """Where a canary stands: a path below the folder that was searched, and the bytes around it."""

    where: str
    around: str


def holds_canary(told: str | bytes) -> bool:
    content = told.encode("utf-8", "surrogateescape") if isinstance(told, str) else told
    return any(mark in content for mark in _MARKS)


def sightings(root: Path, *, but: Iterable[str] = ()) -> list[Sighted]:
    """Every name and every content below a folder that holds a canary. but: folders of it whose files' contents are
    the senders' own bytes; what the box wrote beside them (`*.json`) is still read."""
    originals = tuple(but)
    found = []
    for path in sorted(root.rglob("*")):
        where = str(path.relative_to(root))
        if holds_canary(where):
            found.append(Sighted(where, "in the name"))
        if path.is_symlink() or not path.is_file():
            continue
        if where.split("/", maxsplit=1)[0] in originals and path.suffix != ".json":
            continue
        around = _in_file(path)
        if around is not None:
            found.append(Sighted(where, around))
    return found


def around_canary(content: bytes) -> str | None:
    """What stands around the first canary, None where there is none."""
    places = [content.find(mark) for mark in _MARKS]
    first = min((place for place in places if place >= 0), default=None)
    return None if first is None else repr(content[max(0, first - 40) : first + 40])


def _in_file(path: Path) -> str | None:
    """In pieces that overlap: a ledger may be large."""
    rest = b""
    with path.open("rb") as opened:
        while piece := opened.read(_CHUNK_BYTES):
            around = around_canary(rest + piece)
            if around is not None:
                return around
            rest = piece[-_LONGEST:]
    return None
