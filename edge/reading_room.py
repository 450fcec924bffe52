"""What a person asks of a box at the command line: score this file, show similar cases, find its results."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edge.bundle import Bundle, open_bundle
from edge.config import Config
from edge.engines import open_engine
from edge.engines.opening import GpuPlace, find_gpu
from edge.engines.plans import PlanStore
from edge.errors import EdgeError, UsageError
from edge.imaging.decoder import Decoder
from edge.known_answer import known_answers
from edge.pipeline import Pipeline
from edge.similarity import ScannedCases, SimilarCases
from edge.snapshot import snapshot
from edge.state import LEDGER, PLANS, SITE_KEY, existing_ledger
from edge.store import LedgerReader
from edge.values import CASE_ID_DIGITS, Neighbour, case_id_of


@contextlib.contextmanager
def open_pipeline(
    config: Config, *, ledger: LedgerReader | None = None, find: Callable[[], GpuPlace] = find_gpu
) -> Iterator[Pipeline]:
    """A pipeline that has given the right answers to its golden cases, as the daemon's must. It records nothing.

    ledger: where earlier cases are searched too. Identifiers are hashed with a key that is thrown away. Raises
    EngineError when an answer is wrong.
    """
    bundle = open_bundle(config.bundle, trusted_keys=config.trusted_keys)
    key = secrets.token_bytes(32)
    with Decoder(bundle.manifest.preprocessing, site_key=key, limit_s=config.decode_limit_s) as decoder:
        plans = kept_plans(config)
        engine = open_engine(bundle, backend=config.backend, precision=config.precision, plans=plans, find=find)
        try:
            known_answers(bundle, engine, decoder)
            yield Pipeline(bundle, engine, decoder, _similar(bundle, ledger), k=config.neighbours)
        finally:
            engine.close()


def kept_plans(config: Config) -> PlanStore | None:
    """The plans of a state folder that is there and may be read; the folder is left as it is."""
    state = Path(config.state)
    if not os.access(state / SITE_KEY, os.R_OK):
        return None
    key = (state / SITE_KEY).read_bytes()
    return PlanStore(state / PLANS, site_key=key, trusted_keys=config.trusted_keys)


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
    `include_earlier_cases` those of the ledger, which are read whole and ranked exactly.

    Raises UsageError when `query` is neither, EdgeError when the file cannot be scored.
    """
    path = Path(config.state, LEDGER)
    is_file = Path(query).is_file()
    if not is_file and (len(query) != CASE_ID_DIGITS or not path.is_file()):
        raise UsageError(f"{query} is neither a file nor a case of the ledger in {config.state}; check --state")
    with contextlib.ExitStack() as opened:
        ledger = opened.enter_context(LedgerReader(path)) if path.is_file() else None
        searched = ledger if config.include_earlier_cases else None
        if ledger is None or is_file:
            return _similar_to_file(Path(query), config, searched)
        bundle = open_bundle(config.bundle, trusted_keys=config.trusted_keys)
        cases = ledger.earlier_cases(bundle.id, case_id=query)
        if not cases:
            raise UsageError(
                f"case {query} has no score from bundle {bundle.manifest.name}; check --bundle and --state"
            )
        return _similar(bundle, searched).nearest(cases[0].embedding, config.neighbours, without=query)


def _similar_to_file(query: Path, config: Config, ledger: LedgerReader | None) -> tuple[Neighbour, ...]:
    (file,) = existing([query])
    with open_pipeline(config, ledger=ledger) as pipeline:
        report = pipeline.report(file)
    if not report.scored:
        raise EdgeError(f"{query} is not scored ({report.reason}): {report.detail}")
    return report.neighbours


def _similar(bundle: Bundle, ledger: LedgerReader | None) -> SimilarCases:
    return SimilarCases.of_bundle(bundle, None if ledger is None else ScannedCases(ledger, bundle.id))


def results_of(file: Path, config: Config) -> list[dict[str, object]]:
    """Every report that a file's bytes have in the ledger."""
    (file,) = existing([file])
    ledger_path = existing_ledger(Path(config.state))
    with snapshot(file) as frozen:
        case_id = case_id_of(frozen.sha256)
    with LedgerReader(ledger_path) as ledger:
        return ledger.reports(case_id)
