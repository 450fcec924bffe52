"""What a person asks of a box at the command line: score this file, show similar cases, find its results."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edge.audit import Event, operator
from edge.bundle import Bundle, open_bundle
from edge.config import Config
from edge.engines import open_engine
from edge.engines.opening import GpuPlace, find_gpu
from edge.engines.plans import PlanStore
from edge.errors import DiskFailed, EdgeError, UsageError
from edge.imaging.decode_pool import open_decoder
from edge.known_answer import known_answers
from edge.ledger_reader import LedgerReader
from edge.pipeline import Pipeline
from edge.similarity import ScannedCases, SimilarCases
from edge.snapshot import snapshot
from edge.state import LEDGER, PLANS, SITE_KEY, SITE_KEY_BYTES, existing_ledger, existing_state
from edge.upkeep import Upkeep
from edge.values import CASE_ID_DIGITS, Neighbour, case_id_of


@contextlib.contextmanager
def open_pipeline(
    config: Config, *, ledger: LedgerReader | None = None, find: Callable[[], GpuPlace] = find_gpu
) -> Iterator[Pipeline]:
    """A pipeline that has given the right answers to its golden cases, as the daemon's must. It records nothing.

    ledger: where earlier cases are searched too. Identifiers are hashed with the box's key where neighbours must not
    be of the same patient and it can be read, else with one that is thrown away. Raises EngineError when an answer is
    wrong.
    """
    bundle = open_bundle(config.bundle, trusted_keys=config.trusted_keys)
    key = None if config.same_patient else _site_key(config)
    with open_decoder(config, bundle, key or secrets.token_bytes(SITE_KEY_BYTES)) as decoder:
        plans = kept_plans(config)
        engine = open_engine(bundle, backend=config.backend, precision=config.precision, plans=plans, find=find)
        try:
            known_answers(bundle, engine, decoder)
            similar = _similar(bundle, ledger)
            yield Pipeline(bundle, engine, decoder, similar, k=config.neighbours, same_patient=config.same_patient)
        finally:
            engine.close()


def kept_plans(config: Config) -> PlanStore | None:
    """The plans of a state folder that is there and may be read; the folder is left as it is."""
    key = _site_key(config)
    if key is None:
        return None
    return PlanStore(Path(config.state, PLANS), site_key=key, trusted_keys=config.trusted_keys)


def _site_key(config: Config) -> bytes | None:
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


def similar_cases(query: str, config: Config) -> tuple[Neighbour, ...]:
    """The nearest cases of a file, or of a scored case in the ledger: reference cases, and with
    `include_earlier_cases` those of the ledger, which are read whole and ranked exactly. Where the ledger's cases are
    looked at, its audit log tells of it before anything is returned. None is of the query's patient, as far as that is
    known, unless `same_patient` allows it.

    Raises UsageError when `query` is neither, when a look-up among the ledger's cases cannot be written down, or the
    file's patient cannot be recognised and must be; EdgeError when the file cannot be scored.
    """
    has_ledger, is_file = Path(config.state, LEDGER).is_file(), Path(query).is_file()
    if not is_file and (len(query) != CASE_ID_DIGITS or not has_ledger):
        raise UsageError(f"{query} is neither a file nor a case of the ledger in {config.state}; check --state")
    if is_file and not (has_ledger and config.include_earlier_cases):
        return _similar_to_file(Path(query), config, None)[1]
    with _noting_ledger(Path(config.state)) as ledger:
        searched = ledger if config.include_earlier_cases else None
        if is_file:
            case_id, found = _similar_to_file(Path(query), config, searched)
        else:
            case_id, found = query, _similar_to_case(query, config, ledger, searched)
        told = {"by": operator(), "asked": "file" if is_file else "case", "k": config.neighbours, "found": len(found)}
        ledger.note(Event.LOOKED_UP, told, case_id=case_id)
        return found


def _noting_ledger(root: Path) -> Upkeep:
    """Raises UsageError when nothing can be written there, as in another user's folder or on a read-only disk."""
    try:
        state = existing_state(root)
        return Upkeep(state.ledger, site_key=state.site_key)
    except DiskFailed:
        raise
    except EdgeError as fault:
        raise UsageError(
            f"a look-up of the box's cases must be noted in its audit log, and cannot be: {fault}"
        ) from None


def _similar_to_case(
    case_id: str, config: Config, ledger: LedgerReader, searched: LedgerReader | None
) -> tuple[Neighbour, ...]:
    bundle = open_bundle(config.bundle, trusted_keys=config.trusted_keys)
    cases = ledger.earlier_cases(bundle.id, case_id=case_id)
    if not cases:
        raise UsageError(f"case {case_id} has no score from bundle {bundle.manifest.name}; check --bundle and --state")
    not_of = None if config.same_patient else cases[0].patient_key
    return _similar(bundle, searched).nearest(cases[0].embedding, config.neighbours, without=case_id, not_of=not_of)


def _similar_to_file(query: Path, config: Config, ledger: LedgerReader | None) -> tuple[str, tuple[Neighbour, ...]]:
    """The file's case id, and what is similar."""
    (file,) = existing([query])
    if not config.same_patient and _site_key(config) is None:
        raise UsageError(
            f"state folder {config.state} holds no site key that can be read, and without it no patient is recognised; "
            "check --state, or leave --other-patients out"
        )
    with open_pipeline(config, ledger=ledger) as pipeline:
        report = pipeline.report(file)
    if not report.scored:
        raise EdgeError(f"{query} is not scored ({report.reason}): {report.detail}")
    return report.case_id, report.neighbours


def _similar(bundle: Bundle, ledger: LedgerReader | None) -> SimilarCases:
    return SimilarCases.of_bundle(bundle, None if ledger is None else ScannedCases(ledger, bundle.id))


def results_of(file: Path, config: Config) -> list[dict[str, object]]:
    """Every report that a file's bytes have in the ledger. No look-up of others' cases: who has the file may ask."""
    (file,) = existing([file])
    ledger_path = existing_ledger(Path(config.state))
    with snapshot(file) as frozen:
        case_id = case_id_of(frozen.sha256)
    with LedgerReader(ledger_path) as ledger:
        return ledger.reports(case_id)
