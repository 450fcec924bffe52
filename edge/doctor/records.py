"""What the state folder holds: the ledger, the index of earlier cases, the site's calibration. Read, never written."""

from pathlib import Path

import apsw

from edge import index_file
from edge.bundle import Bundle
from edge.config import Config
from edge.doctor.check import Finding, failed, warning
from edge.engines.opening import choose_precision
from edge.errors import StateError
from edge.index_file import IndexDamaged
from edge.ledger_reader import LedgerReader
from edge.reading_room import site_key
from edge.site_calibration import CalibrationStore, untried
from edge.state import LEDGER

_SAFE_SQLITE = (3, 51, 3)  # older ones may lose a commit when the write-ahead log is reset
CHECK_WITHIN_S = 5.0  # a reader keeps `forget` from ending


def sqlite() -> Finding:
    version = apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) < _SAFE_SQLITE:
        raise StateError(f"SQLite {version} may lose commits; run: pip install --upgrade apsw")
    return Finding(f"SQLite {version}")


def ledger(config: Config, *, within_s: float = CHECK_WITHIN_S) -> Finding:
    path = Path(config.state, LEDGER)
    if not path.exists():
        return Finding("there is none yet")
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    with LedgerReader(path) as reader:
        sound = reader.is_sound(within_s=within_s)
    if sound is None:
        return Finding(f"{size}, no fault in the first {within_s:.0f} s of its check; edge-cxr backup checks all of it")
    if not sound:
        return failed(f"{path} is damaged; stop the daemon and restore it from a backup: see docs/operations.md")
    return Finding(f"{size}, sound")


def earlier_cases(config: Config, bundle: Bundle) -> Finding:
    """The index is a cache: whatever is wrong with it, the daemon makes it anew."""
    if not config.include_earlier_cases:
        return Finding("not asked for: include_earlier_cases is false")
    path = Path(config.state, LEDGER)
    if not path.exists():
        return Finding("there are none yet")
    with LedgerReader(path) as reader:
        extent = reader.extent()
    try:
        kept = index_file.load(index_file.path_of(path.parent / index_file.FOLDER, bundle.id), bundle.id)
    except IndexDamaged as fault:
        return warning(str(fault))
    if kept is None:
        told = "no index of this bundle is kept yet; the daemon makes it, or edge-cxr index rebuild"
        return warning(told) if extent.last_number else Finding(told)
    stamp, _ = kept
    if stamp.forgotten != extent.forgotten or stamp.last_number > extent.last_number:
        return warning("the index is of another ledger, or from before a case was forgotten; the daemon makes it anew, "
                       "or edge-cxr index rebuild")  # fmt: skip
    later = extent.last_number - stamp.last_number
    return Finding(f"{stamp.count} cases of bundle {bundle.id[:12]}; {later} later numbers are added at the next start")


def site_calibration(config: Config, bundle: Bundle) -> Finding:
    key = site_key(config)
    site = None if key is None else CalibrationStore(Path(config.state), site_key=key).find(bundle)
    precision = choose_precision(bundle, config.precision, "tensorrt" if config.backend == "tensorrt" else "openvino")
    if site is None:
        point = bundle.manifest.operating_points.get(precision)
        if point is None:
            return Finding(f"none, and bundle {bundle.manifest.name} has no operating point: results have a score and "
                           "no verdict until edge-cxr calibrate-site")  # fmt: skip
        return Finding(f"none: the bundle's operating point {point:.3f} counts for {precision}")
    lacking = untried(site, precision)
    if lacking is not None:
        return warning(lacking)
    found = site.precisions[precision]
    return Finding(
        f"sealed, of this bundle, {precision}: operating point {found.operating_point.value:.3f}, {found.at}"
    )
