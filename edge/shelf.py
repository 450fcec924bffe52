"""Bundles side by side in the state folder, and which of them the setting `bundle = "active"` means."""

import json
import re
from pathlib import Path

from edge.bundle import PACKAGED_IDS, Bundle, open_bundle
from edge.config import Config
from edge.errors import BundleError

ACTIVE = "active"  # the setting's value
FOLDER = "bundles"
SHORT = 12  # digits of an id
_SHORT_ID = re.compile(r"[0-9a-f]{12}")
_MARK = "active.json"
_OTHERWISE = "research"  # before any bundle was activated


def open_configured(config: Config) -> Bundle:
    """The bundle of the setting. Raises BundleError."""
    return open_bundle(name_or_folder(config), trusted_keys=config.trusted_keys)


def name_or_folder(config: Config) -> str:
    """As `open_bundle` takes it. Raises BundleError when it cannot be told which bundle is active."""
    if config.bundle != ACTIVE:
        return config.bundle
    active = active_mark(Path(config.state))
    return active if active in PACKAGED_IDS else str(Path(config.state, FOLDER, active))


def active_id(state: Path) -> str:
    """The first 12 digits of the active bundle's id. Raises BundleError."""
    active = active_mark(state)
    return PACKAGED_IDS.get(active, active)[:SHORT]


def active_mark(state: Path) -> str:
    """The active bundle: a packaged one's name, or of another the first 12 digits of its id, which name its folder.

    Raises BundleError.
    """
    mark = state / FOLDER / _MARK
    try:
        told = json.loads(mark.read_bytes())["active"]
    except FileNotFoundError:
        return _OTHERWISE
    except (OSError, ValueError, KeyError, TypeError):
        raise BundleError(f"{mark} does not tell which bundle is active; run: edge-cxr bundle activate") from None
    if told not in PACKAGED_IDS and not (isinstance(told, str) and _SHORT_ID.fullmatch(told)):
        raise BundleError(f"{mark} names no bundle; run: edge-cxr bundle activate")
    return str(told)
