"""Pictures of cases for a contact sheet: found by the SHA-256 of their bytes, decoded by confined workers only.

A case's file is sought in archive, quarantine and requeued of the state folder, then in a folder of reference images,
then among the bundle's own thumbnails. A file whose bytes are not the case's is passed over, whatever its name.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.case_files import radiographs_of
from edge.config import Config
from edge.engines import Engine, predict
from edge.errors import RadiographError, Unopenable
from edge.imaging.decode_pool import Decodes
from edge.imaging.decoder import Decoder
from edge.outputs.similar_sheet import CasePicture
from edge.snapshot import MAX_FILE_BYTES, Snapshot, frozen_bytes, snapshot
from edge.values import Crop, Decoded, case_id_of

_STATE = ("archive", "quarantine", "requeued")
THUMBNAILS = "thumbnails"  # <case id>.png, listed in the manifest of a bundle that stays where it was made
Source = Callable[[], AbstractContextManager[Snapshot]]


class CasePictures:
    """Asks the network about each picture once more, for the outline and the map."""

    def __init__(self, bundle: Bundle, engine: Engine, decoder: Decodes, config: Config) -> None:
        """decoder: with the bundle's preprocessing, as the engine wants it."""
        self._bundle, self._engine, self._decoder, self._config = bundle, engine, decoder, config

    def of(self, sources: Mapping[str, list[Source]]) -> dict[str, CasePicture]:
        """By case id; without those of which no source can be read."""
        found = {}
        # A second worker keeps the proportions, whatever the bundle's framing does to them.
        natural = replace(self._bundle.manifest.preprocessing, framing="pad")
        limit_s, sandbox = self._config.decode_limit_s, self._config.sandbox
        with Decoder(natural, site_key=secrets.token_bytes(32), limit_s=limit_s, sandbox=sandbox) as upright:
            for case_id, places in sources.items():
                for place in places:
                    with contextlib.suppress(RadiographError, Unopenable, FileNotFoundError), place() as frozen:
                        found[case_id] = self._picture(frozen, upright)
                        break
        return found

    def _picture(self, frozen: Snapshot, upright: Decoder) -> CasePicture:
        seen, asked = upright.decode(frozen), self._decoder.decode(frozen)
        (prediction,) = predict(self._engine, [asked.model_input])
        grey = np.rint(_content(seen) * 255).astype(np.uint8)
        crop, side = asked.model_input.crop, asked.model_input.pixels.shape[-1]
        lungs, evidence = (
            _mapped(answer, crop, side, grey.shape) for answer in (prediction.lung_mask, prediction.evidence_map)
        )
        return CasePicture(grey, lungs, evidence)


def sources_of(
    case_ids: Collection[str], bundle: Bundle, state: Path | None, reference_images: Path | None
) -> dict[str, list[Source]]:
    """Where a picture of each case may be had, the best first."""
    sources: dict[str, list[Source]] = {case_id: [] for case_id in case_ids}
    for folder in [] if state is None else [state / name for name in _STATE]:
        for case_id, path in radiographs_of(folder, case_ids):
            sources[case_id].append(partial(of_case, case_id, path))
    if reference_images is not None:
        for case_id, path in _by_digest(reference_images, case_ids):
            sources[case_id].append(partial(of_case, case_id, path))
    for case_id in case_ids:
        thumbnail = bundle.files.get(f"{THUMBNAILS}/{case_id}.png")
        if thumbnail is not None:
            sources[case_id].append(partial(frozen_bytes, thumbnail))
    return sources


@contextlib.contextmanager
def of_case(case_id: str, path: Path) -> Iterator[Snapshot]:
    """Raises Unopenable when these are other bytes than the case's."""
    with snapshot(path) as frozen:
        if case_id_of(frozen.sha256) != case_id:
            raise Unopenable("a file has another digest than its case")
        yield frozen


def _by_digest(folder: Path, case_ids: Collection[str]) -> Iterator[tuple[str, Path]]:
    """Every file below a folder is read until all cases are found. No link is followed."""
    wanted = set(case_ids)
    for above, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(above, name)
            case_id = _digest_of(path) if wanted else None
            if case_id in wanted:
                wanted.discard(case_id)
                yield case_id, path


def _digest_of(path: Path) -> str | None:
    """None where it cannot be read, or is no radiograph by its size."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            return None
        with path.open("rb") as opened:
            return case_id_of(hashlib.file_digest(opened, "sha256").hexdigest())
    except OSError:
        return None


def _content(seen: Decoded) -> NDArray[np.float32]:
    crop, pixels = seen.model_input.crop, seen.model_input.pixels[0]
    rows, columns = _inside(crop)
    return pixels[rows, columns]


def _mapped(answer: NDArray[np.float32], crop: Crop, side: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An answer over the model input, as it lies over the radiograph's content of this shape."""
    whole = cv2.resize(answer, (side, side), interpolation=cv2.INTER_LINEAR)
    mapped: NDArray[np.float32] = cv2.resize(whole[_inside(crop)], shape[::-1], interpolation=cv2.INTER_LINEAR)
    return mapped


def _inside(crop: Crop) -> tuple[slice, slice]:
    """Rows and columns of the content in the model input."""
    return (
        slice(crop.model_top, crop.model_top + crop.model_height),
        slice(crop.model_left, crop.model_left + crop.model_width),
    )
