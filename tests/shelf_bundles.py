"""Tiny bundles that differ in name and operating point, and a state folder with a ledger to install them in."""

import json
import shutil
from pathlib import Path

from tiny_bundle import write_manifest

from edge.bundle import open_bundle
from edge.shelf import SHORT
from edge.state import StateFolder, open_state
from edge.store import Ledger


def variant(pristine: Path, folder: Path, *, name: str, point: float = 0.5) -> Path:
    """Another bundle, with another id, whose network is the same."""
    shutil.copytree(pristine, folder)
    write_manifest(folder, operating_point=point, name=name)
    return folder


def wrong(pristine: Path, folder: Path, *, name: str = "wrong") -> Path:
    """One whose network answers otherwise than its golden case says."""
    shutil.copytree(pristine, folder)
    expected = json.loads((folder / "golden/expected.json").read_text())
    expected["cases"][0]["precisions"]["fp32"]["score"] += 0.02
    (folder / "golden/expected.json").write_text(json.dumps(expected))
    write_manifest(folder, name=name)
    return folder


def key_of(folder: Path) -> str:
    return open_bundle(str(folder)).id[:SHORT]


def used_state(root: Path) -> StateFolder:
    """A state folder as a daemon leaves it."""
    state = open_state(root)
    Ledger(state.ledger, site_key=state.site_key).close()
    return state
