"""The demo: a dozen phantoms in mixed formats, scored by the real daemon from a watched folder, and a contact sheet."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from edge.bundle import Bundle, open_bundle
from edge.config import Config
from edge.daemon import Daemon
from edge.errors import UsageError
from edge.imaging.grey import integer_levels, plain_radiograph
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.log import make_logger
from edge.outputs.contact_sheet import Picture, SheetRow, draw_contact_sheet, write_contact_sheet
from edge.phantom import Phantom, render
from edge.phantom_dicom import write_dicom, write_png
from edge.values import Reason, Report, Sighting

BUNDLE = "phantom"
_MARK = "made-by-edge-cxr-demo"
_FIRST_SEED = 900_001  # far from the seeds of training, validation and reference
_SHEET_ROWS = 6


@dataclass(frozen=True)
class DemoRow:
    """One phantom: its file's name, what it shows, and what the box made of it."""

    name: str
    truth: str
    phantom: Phantom
    report: Report


@dataclass(frozen=True)
class DemoOutcome:
    rows: tuple[DemoRow, ...]
    results: Path
    contact_sheet: Path


def run_demo(folder: Path, on_report: Callable[[Sighting, Report], None]) -> DemoOutcome:
    """Render, watch, draw. Raises UsageError when `folder` holds something that is not an earlier demo."""
    incoming, state = folder / "incoming", folder / "state"
    _clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()  # first: a demo that is killed half-way must not block the next
    incoming.mkdir()
    phantoms = dict(_write_phantoms(incoming))
    reports: dict[str, Report] = {}

    def finished(sighting: Sighting, report: Report) -> None:
        reports[sighting.path.name] = report
        on_report(sighting, report)

    config = Config(state=str(state), bundle=BUNDLE, listen="")
    Daemon(config, incoming, once=True, logger=make_logger(terminal=True), on_report=finished).run()
    rows = tuple(DemoRow(name, _truth(phantom), phantom, reports[name]) for name, phantom in phantoms.items())
    sheet = folder / "contact_sheet.png"
    bundle = open_bundle(BUNDLE)
    _draw(sheet, rows, bundle)
    return DemoOutcome(rows, state / "results" / bundle.id[:12], sheet)


def _clear(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / _MARK).exists()):
        raise UsageError(f"{folder} holds other things than an earlier demo; name another folder with --folder")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _MARK:
            path.unlink()


def _write_phantoms(folder: Path) -> list[tuple[str, Phantom]]:
    """Twelve phantoms, both labels, every family of formats; the last is a lateral view, which must be refused."""
    writers: list[tuple[str, Callable[[Phantom, Path], None]]] = [
        ("01_monochrome2.dcm", write_dicom),
        (
            "02_monochrome1.dcm",
            lambda phantom, path: write_dicom(phantom, path, photometric_interpretation="MONOCHROME1"),
        ),
        ("03_16bit.png", write_png),
        ("04_8bit.png", lambda phantom, path: write_png(phantom, path, bits=8)),
        ("05_jpeg2000.dcm", lambda phantom, path: write_dicom(phantom, path, transfer_syntax=JPEG2000Lossless)),
        (
            "06_deflated.dcm",
            lambda phantom, path: write_dicom(phantom, path, transfer_syntax=DeflatedExplicitVRLittleEndian),
        ),
        ("07_rle.dcm", lambda phantom, path: write_dicom(phantom, path, transfer_syntax=RLELossless)),
        ("08.jpg", _write_with_opencv),
        ("09.tif", _write_with_opencv),
        ("10_monochrome2.dcm", write_dicom),
        ("11_16bit.png", write_png),
    ]
    phantoms = []
    for number, (name, write) in enumerate(writers):
        phantom = render(_FIRST_SEED + number, ("covid", "other")[number % 2])
        write(phantom, folder / name)
        phantoms.append((name, phantom))
    lateral = render(_FIRST_SEED + len(writers), "other", variant="lateral")
    write_dicom(lateral, folder / "12_lateral.dcm", view_position="LL")
    return [*phantoms, ("12_lateral.dcm", lateral)]


def _write_with_opencv(phantom: Phantom, path: Path) -> None:
    cv2.imwrite(str(path), (phantom.pixels >> 4).astype(np.uint8))


def _truth(phantom: Phantom) -> str:
    return phantom.label if phantom.variant == "frontal" else f"{phantom.variant} view"


def _draw(path: Path, rows: tuple[DemoRow, ...], bundle: Bundle) -> None:
    reference = bundle.reference()
    origins = dict(zip(reference.case_ids, reference.origins, strict=True))
    parameters = bundle.manifest.preprocessing
    shown = [*rows[: _SHEET_ROWS - 1], next(row for row in rows if row.report.reason is Reason.NOT_FRONTAL_CHEST)]
    sheet_rows = []
    for row in shown:
        similar = [_redraw(origins[near.case_id], parameters) for near in row.report.neighbours[:2]]
        standardised = _standardised(row.phantom, parameters)
        sheet_rows.append(SheetRow(f"{row.name}: {row.truth}", standardised, row.report, similar))
    heading = "edge-cxr demo: synthetic phantom radiographs, scored from a watched folder"
    write_contact_sheet(path, draw_contact_sheet(sheet_rows, heading=heading))


def _redraw(origin: str, parameters: Preprocessing) -> Picture | None:
    """The reference phantom named by `phantom:<seed>:<label>`, drawn again."""
    kind, _, rest = origin.partition(":")
    if kind != "phantom":
        return None
    seed, _, label = rest.partition(":")
    return np.rint(_standardised(render(int(seed), label, longest_side=512), parameters) * 255).astype(np.uint8)


def _standardised(phantom: Phantom, parameters: Preprocessing) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    radiograph = plain_radiograph(integer_levels(phantom.pixels), sha256="", format="png", lossy=False)
    return preprocess(radiograph, parameters).pixels[0]
