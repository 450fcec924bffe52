"""Graphs that stand in no bundle yet, as the bundle that the box's engines want."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge.bundle import Bundle, open_bundle

FP32 = "fp32"  # the trained network itself: what every other precision is measured by


def bundle_of(folder: Path, precisions: Sequence[str], *, name: str, members: tuple[str, ...]) -> Bundle:
    """The folder's model.<precision>.onnx; what else a bundle holds is the phantom bundle's."""
    files = {f"model.{precision}.onnx": (folder / f"model.{precision}.onnx").read_bytes() for precision in precisions}
    identity = hashlib.sha256()
    for content in files.values():
        identity.update(content)
    manifest = replace(open_bundle("phantom").manifest, name=name, members=members, precisions=tuple(precisions))
    return Bundle(identity.hexdigest(), manifest, files)


def with_fp32(bundle: Bundle, graph: Path) -> Bundle:
    """The bundle as one that also answers in fp32: by its own graph where it holds one, else by this."""
    manifest = bundle.manifest
    if FP32 in manifest.precisions:
        return bundle
    manifest = replace(manifest, precisions=(FP32, *manifest.precisions))
    return replace(bundle, manifest=manifest, files={**bundle.files, f"model.{FP32}.onnx": graph.read_bytes()})
