"""Bundles side by side in the state folder, and which of them the setting `bundle = "active"` means. Changes nothing.

`bundles/active.json` names the active one and those before it: a packaged one by its name, another by the first 12
digits of its id, which name its folder too. What changes the shelf is in shelf_changes.py.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.bundle import PACKAGED_FOLDER, PACKAGED_IDS, Bundle, open_bundle
from edge.config import Config
from edge.errors import BundleError

ACTIVE = "active"  # the setting's value
FOLDER = "bundles"
SHORT = 12  # digits of an id
MARK = "active.json"
OTHERWISE = "research"  # before any bundle was activated
_KEY = re.compile(f"[0-9a-f]{{{SHORT}}}")


@dataclass(frozen=True)
class Mark:
    """active.json. before: what was active before, the latest first."""

    active: str = OTHERWISE
    before: tuple[str, ...] = ()


def open_configured(config: Config) -> Bundle:
    """The bundle of the setting. Raises BundleError."""
    named = name_or_folder(config)
    if config.bundle == ACTIVE and named not in PACKAGED_IDS and not Path(named).is_dir():
        key = Path(named).name
        raise BundleError(
            f"the active bundle {key} is not on this box; run: edge-cxr bundle install FOLDER of its folder"
        )
    return open_bundle(named, trusted_keys=config.trusted_keys)


def pinned(config: Config, bundle: Bundle) -> Config:
    """The same with this bundle named for good: which one is active may change meanwhile."""
    if config.bundle != ACTIVE:
        return config
    key = next((name for name, whole in PACKAGED_IDS.items() if whole == bundle.id), bundle.id[:SHORT])
    return replace(config, bundle=place(Path(config.state), key))


def name_or_folder(config: Config) -> str:
    """As `open_bundle` takes it. Raises BundleError when it cannot be told which bundle is active."""
    if config.bundle != ACTIVE:
        return config.bundle
    return place(Path(config.state), read_mark(Path(config.state)).active)


def place(state: Path, key: str) -> str:
    """Name or folder of a bundle that active.json names so, as `open_bundle` takes it."""
    return key if key in PACKAGED_IDS else str(state / FOLDER / key)


def folder(state: Path, key: str) -> Path:
    """Where its files lie."""
    return PACKAGED_FOLDER / key if key in PACKAGED_IDS else state / FOLDER / key


def active_id(state: Path) -> str:
    """The first 12 digits of the active bundle's id. Raises BundleError."""
    active = read_mark(state).active
    return PACKAGED_IDS.get(active, active)[:SHORT]


def read_mark(state: Path) -> Mark:
    """Raises BundleError when the file is damaged, or gone and bundles are installed: one was there before them."""
    mark = state / FOLDER / MARK
    try:
        told = json.loads(mark.read_bytes())
        keys = [told["active"], *told["before"]]
    except FileNotFoundError:
        if installed_keys(state):
            raise BundleError(f"{mark} is gone; run: edge-cxr bundle activate ID") from None
        return Mark()
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        raise BundleError(f"{mark} does not tell which bundle is active; run: edge-cxr bundle activate ID") from None
    if not all(map(is_key, keys)):
        raise BundleError(f"{mark} names no bundle; run: edge-cxr bundle activate ID")
    return Mark(keys[0], tuple(keys[1:]))


def mark_version(state: Path) -> tuple[int, int] | None:
    """Changes whenever active.json is written, also with the same bundle; None where there is none."""
    try:
        seen = (state / FOLDER / MARK).stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns


def is_key(told: Any) -> bool:
    """Whether active.json could name a bundle so."""
    return isinstance(told, str) and (told in PACKAGED_IDS or _KEY.fullmatch(told) is not None)


def installed_keys(state: Path) -> list[str]:
    """Of the bundles in the state folder; what is half installed has no such name."""
    shelf = state / FOLDER
    return sorted(path.name for path in shelf.iterdir() if _KEY.fullmatch(path.name)) if shelf.is_dir() else []
