"""What stands on the shelf: the bundles of the program and the installed ones, by what their manifests say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.bundle import PACKAGED_IDS
from edge.errors import BundleError, UsageError
from edge.seal import MANIFEST, SealedManifest, read_pinned, read_signed
from edge.shelf import SHORT, Mark, folder, installed_keys, place, read_mark
from edge.strict_json import read_json

_LEAST_DIGITS = 4  # by which an id may be called


@dataclass(frozen=True)
class Shelved:
    """A bundle on the shelf. key: as active.json names it. fault: why its manifest cannot be used; all else is then
    unknown. Its other files were not looked at. before: how many times to roll back to it, None if never. installed_s:
    seconds of the epoch, None for one of the program's own.
    """

    key: str
    id: str
    name: str | None
    role: str | None
    active: bool
    before: int | None
    size_bytes: int
    signed_by: str | None
    installed_s: float | None
    fault: str | None = None


def list_shelf(state: Path) -> list[Shelved]:
    """The installed ones after those of the program. Raises BundleError when active.json is damaged."""
    mark = read_mark(state)
    return [_shelved(state, key, mark) for key in (*PACKAGED_IDS, *installed_keys(state))]


def find_key(state: Path, told: str) -> str:
    """The key of the one bundle on the shelf that has this name, or whose id begins so.

    Raises UsageError when there is none, or more than one.
    """
    if told in PACKAGED_IDS:
        return told
    shelf = [_shelved(state, key, Mark()) for key in (*PACKAGED_IDS, *installed_keys(state))]
    by_id = [one.key for one in shelf if len(told) >= _LEAST_DIGITS and one.id.startswith(told[:64])]
    found = by_id or [one.key for one in shelf if one.name == told]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{one.id[:SHORT]} ({one.name or 'damaged'})" for one in shelf)
    if found:
        raise UsageError(f"{told!r} may be any of {', '.join(found)}; say more digits of the id")
    raise UsageError(f"{told!r} is no bundle of this box; it has {known}. Run: edge-cxr bundle install FOLDER")


def find_place(state: Path, told: str) -> str:
    """Of a bundle on the shelf, or in a folder anywhere, as `open_bundle` takes it. Raises UsageError."""
    try:
        return place(state, find_key(state, told))
    except UsageError:
        if Path(told).is_dir():
            return told
        raise


def _shelved(state: Path, key: str, mark: Mark) -> Shelved:
    where = folder(state, key)
    try:
        sealed = read_pinned(where, PACKAGED_IDS[key]) if key in PACKAGED_IDS else _installed(where)
        manifest = read_json(sealed.content)
        name, role = str(manifest["name"]), str(manifest["role"])
    except (BundleError, ValueError, LookupError, TypeError, RecursionError) as fault:
        return Shelved(key, key, None, None, fault=str(fault), **_place(where, key, mark), signed_by=None)
    return Shelved(key, sealed.id, name, role, **_place(where, key, mark), signed_by=sealed.signed_by)


def _installed(where: Path) -> SealedManifest:
    """Who signed it is told, not asked: it was when the bundle was installed, and is when it is opened."""
    sealed = read_signed(where, ())
    if sealed.id[:SHORT] != where.name:
        raise BundleError(f"{where / MANIFEST} is of another bundle; install the bundle again")
    return sealed


def _place(where: Path, key: str, mark: Mark) -> dict[str, Any]:
    manifest = where / MANIFEST
    is_installed = key not in PACKAGED_IDS and manifest.exists()
    return {
        "active": key == mark.active,
        "before": mark.before.index(key) + 1 if key in mark.before else None,
        "size_bytes": sum(path.stat().st_size for path in where.rglob("*") if path.is_file()),
        "installed_s": manifest.stat().st_mtime if is_installed else None,
    }
