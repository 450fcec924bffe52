"""Graphs that stand in no bundle yet, as the bundle that the box's engines want."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge.bundle import Bundle, open_bundle


def bundle_of(folder: Path, precisions: Sequence[str], *, name: str, members: tuple[str, ...]) -> Bundle:
    """The folder's model.<precision>.onnx; what else a bundle holds is the phantom bundle's."""
    files = {f"model.{precision}.onnx": (folder / f"model.{precision}.onnx").read_bytes() for precision in precisions}
    identity = hashlib.sha256()
    for content in files.values():
        identity.update(content)
    manifest = replace(open_bundle("phantom").manifest, name=name, members=members, precisions=tuple(precisions))
    return Bundle(identity.hexdigest(), manifest, files)
