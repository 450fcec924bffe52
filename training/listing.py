"""A folder of radiographs -> a training manifest that recognises patients and names none.

Files are read as the box reads them, in confined decode workers, and PatientID is hashed with the box's own site key:
a patient in training and on the box has the same key.
"""

import csv
import io
import os
import secrets
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from typing import NoReturn

from edge.errors import EdgeError, RadiographError, Unopenable, UsageError
from edge.imaging.decode_pool import DecodePool, Decodes
from edge.imaging.decoder import Decoder
from edge.imaging.preprocess import Preprocessing
from edge.looks import is_temporary
from edge.outputs.durable import sync_folder, write_durably
from edge.snapshot import MAX_FILE_BYTES, snapshot
from edge.state import SITE_KEY_BYTES
from edge.values import Reason, Source
from training.progress import bar

# Beside the box's reasons: a link, pipe or device; and a name that a cell in UTF-8 cannot hold as it is.
UNOPENABLE, UNWRITABLE_NAME = "unopenable", "unwritable_name"
_WITHOUT_ID = "unknown-"  # and digits of the pixels' digest: copies of one radiograph stay one patient
_DIGITS = 16


@dataclass(frozen=True)
class ListedRow:
    """One line, in the manifest's columns. path: relative to the manifest. patient_id: Source.patient_key."""

    path: str
    patient_id: str
    label: str
    view: str
    sha256: str


@dataclass(frozen=True)
class Listing:
    """refused: how many files are left out, by reason. without_id: rows of patients whom no PatientID names."""

    rows: tuple[ListedRow, ...]
    refused: Counter[str]
    without_id: int


def create_site_key(path: Path) -> None:
    """A new key (0600) for a box that has not been started yet. Raises UsageError when something is there already."""
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        told = f"{path} is there already, and a site key is never replaced; use it without --new-site-key"
        raise UsageError(told) from None
    except OSError as fault:
        raise UsageError(f"site key {path} cannot be made ({fault.strerror}); check its folder") from None
    with os.fdopen(opened, "wb") as key:
        key.write(secrets.token_bytes(SITE_KEY_BYTES))
        key.flush()
        os.fsync(key.fileno())
    sync_folder(path.parent)


def read_site_key(path: Path) -> bytes:
    """Raises UsageError when it is no file of 32 bytes, or others than its owner may open it."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe is not waited for
    except OSError as fault:
        raise UsageError(
            f"site key {path} cannot be opened ({fault.strerror}); name site.key in the box's state folder, or make a "
            "new one with --new-site-key where there is no box yet"
        ) from None
    with os.fdopen(opened, "rb") as key:
        seen = os.fstat(opened)
        if not stat.S_ISREG(seen.st_mode) or seen.st_size != SITE_KEY_BYTES:
            raise UsageError(
                f"{path} is no site key: it has {seen.st_size} bytes, a key is a file of {SITE_KEY_BYTES}; name "
                "site.key in the box's state folder"
            )
        if seen.st_mode & 0o077:
            mode = f"{stat.S_IMODE(seen.st_mode):04o}"
            raise UsageError(f"others may open the site key {path} (mode {mode}); run: chmod 600 {path}")
        return key.read()


def list_folder(
    folder: Path, out: Path, *, site_key: bytes, label_from_folder: bool = False, workers: int | None = None
) -> Listing:
    """Every radiograph below `folder` in the order of names, for the manifest `out`; links are not followed, and names
    that the box passes over in its watch folder are passed over here.

    label_from_folder: the label is the name of the first folder on the way, else it is empty. Raises UsageError when
    a folder cannot be read, EdgeError when no file is a radiograph.
    """
    files = [path for path in sorted(_files(folder)) if _relative(path, out) != out.name]
    start = partial(Decoder, Preprocessing(), site_key=site_key)
    with DecodePool(start, workers=workers or os.cpu_count() or 1) as pool:
        found = list(_in_threads(partial(_look, pool, out), files, pool.threads))
    refused = Counter(outcome for outcome in found if isinstance(outcome, str))
    sources = {path: outcome for path, outcome in zip(files, found, strict=True) if isinstance(outcome, Source)}
    if not sources:
        why = told(refused) or "there is none"
        raise EdgeError(f"no file can be listed ({why}); name a folder of DICOM, PNG, JPEG or TIFF files")
    patients = _patients(sources.values())
    rows = tuple(
        ListedRow(
            path=_relative(path, out),
            patient_id=patients[source.pixels_sha256] if source.patient_key is None else source.patient_key,
            label=_label(path, folder) if label_from_folder else "",
            view=source.view_position or "",
            sha256=source.sha256,
        )
        for path, source in sources.items()
    )
    return Listing(rows, refused, sum(row.patient_id.startswith(_WITHOUT_ID) for row in rows))


def _patients(sources: Iterable[Source]) -> dict[str, str]:
    """Whose the pixels of each digest are: a copy without PatientID is of the same patient as its original."""
    patients: dict[str, str] = {}
    for source in sources:
        unknown = f"{_WITHOUT_ID}{source.pixels_sha256[:_DIGITS]}"
        patients[source.pixels_sha256] = source.patient_key or patients.get(source.pixels_sha256, unknown)
    return patients


def write_listing(listing: Listing, out: Path) -> None:
    """A CSV for its owner alone (0600), there as a whole or not at all. Raises StateError when the disk fails."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([field.name for field in fields(ListedRow)])
    writer.writerows(astuple(row) for row in listing.rows)
    write_durably(out, text.getvalue().encode())


def told(refused: Counter[str]) -> str:
    """As in `2 unreadable, 1 bomb`."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))


def _files(folder: Path) -> Iterator[Path]:
    """All but folders; a link to a folder too, so that it is counted."""

    def fail(fault: OSError) -> NoReturn:
        raise UsageError(f"a folder cannot be read ({fault.strerror}); check its owner and permissions") from None

    for here, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not is_temporary(name)]
        links = [name for name in folders if Path(here, name).is_symlink()]
        yield from (Path(here, name) for name in (*files, *links) if not is_temporary(name))


def _in_threads(look: Callable[[Path], Source | str], files: Sequence[Path], threads: int) -> Iterator[Source | str]:
    """In order, with a bar; what waits is given up when one fails or the user has enough."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield from bar(pool.map(look, files), "list", total=len(files))
    finally:
        pool.shutdown(cancel_futures=True)


def _look(decoder: Decodes, out: Path, path: Path) -> Source | str:
    """What is known of a file, or the reason to leave it out."""
    if not _is_writable(_relative(path, out)):
        return UNWRITABLE_NAME
    try:
        with snapshot(path) as frozen:
            if frozen.size_bytes > MAX_FILE_BYTES:
                return Reason.TOO_LARGE.value
            source = decoder.decode(frozen).source
    except RadiographError as refusal:
        return refusal.reason.value
    except (Unopenable, FileNotFoundError):
        return UNOPENABLE
    return Reason.OUTSIDE_INTENDED_USE.value if source.minor else source


def _is_writable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name == name.strip()  # who reads the manifest strips its cells


def _label(path: Path, folder: Path) -> str:
    first, *rest = path.relative_to(folder).parts
    return first.strip() if rest else ""


def _relative(path: Path, out: Path) -> str:
    """From the manifest's folder as it really is; the file's own name is left as it is, be it a link."""
    return os.path.relpath(path.parent.resolve() / path.name, out.parent.resolve())
