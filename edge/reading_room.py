"""What a person asks of a box at the command line: score this file, find its results. Similar cases: lookup.py."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edge.bundle import Bundle
from edge.config import Config
from edge.engines import open_engine
from edge.engines.opening import GpuPlace, find_gpu
from edge.engines.plans import PlanStore
from edge.errors import UsageError
from edge.imaging.decode_pool import open_decoder
from edge.known_answer import known_answers
from edge.ledger_reader import LedgerReader
from edge.pipeline import Pipeline
from edge.shelf import open_configured
from edge.similarity import SimilarCases
from edge.site_calibration import CalibrationStore, SiteCalibration
from edge.snapshot import snapshot
from edge.state import PLANS, SITE_KEY, SITE_KEY_BYTES, existing_ledger
from edge.values import case_id_of


@contextlib.contextmanager
def open_pipeline(
    config: Config, *, find: Callable[[], GpuPlace] = find_gpu, by_site: bool = True
) -> Iterator[Pipeline]:
    """A pipeline that has given the right answers to its golden cases, as the daemon's must. It records nothing.

    Identifiers are hashed with the box's key where neighbours must not
    be of the same patient and it can be read, else with one that is thrown away. Raises EngineError when an answer is
    wrong.
    """
    bundle = open_configured(config)
    site = _site_calibration(config, bundle) if by_site else None
    key = None if config.same_patient else site_key(config)
    with open_decoder(config, bundle, key or secrets.token_bytes(SITE_KEY_BYTES)) as decoder:
        plans = kept_plans(config)
        engine = open_engine(bundle, backend=config.backend, precision=config.precision, plans=plans, find=find)
        try:
            known_answers(bundle, engine, decoder)
            similar = SimilarCases.of_bundle(bundle)
            yield Pipeline(
                bundle,
                engine,
                decoder,
                similar,
                k=config.neighbours,
                same_patient=config.same_patient,
                site=site,
            )
        finally:
            engine.close()


def _site_calibration(config: Config, bundle: Bundle) -> SiteCalibration | None:
    """Of a state folder that is there and may be read. Raises BundleError when it is not as the box sealed it."""
    key = site_key(config)
    return None if key is None else CalibrationStore(Path(config.state), site_key=key).find(bundle)


def kept_plans(config: Config) -> PlanStore | None:
    """The plans of a state folder that is there and may be read; the folder is left as it is."""
    key = site_key(config)
    if key is None:
        return None
    return PlanStore(Path(config.state, PLANS), site_key=key, trusted_keys=config.trusted_keys)


def site_key(config: Config) -> bytes | None:
    """Of a state folder that is there and may be read."""
    path = Path(config.state, SITE_KEY)
    return path.read_bytes() if os.access(path, os.R_OK) else None


def existing(files: Sequence[Path]) -> Sequence[Path]:
    """The same files, links followed. Raises UsageError naming the first that is none or cannot be read."""
    for path in files:
        if not path.is_file():
            raise UsageError(f"{path} is no file; name radiographs as DICOM, PNG, JPEG or TIFF files")
        if not os.access(path, os.R_OK):
            raise UsageError(f"{path} cannot be read; check its permissions")
    return [path.resolve() for path in files]


def results_of(file: Path, config: Config) -> list[dict[str, object]]:
    """Every report that a file's bytes have in the ledger. No look-up of others' cases: who has the file may ask."""
    (file,) = existing([file])
    ledger_path = existing_ledger(Path(config.state))
    with snapshot(file) as frozen:
        case_id = case_id_of(frozen.sha256)
    with LedgerReader(ledger_path) as ledger:
        return ledger.reports(case_id)
