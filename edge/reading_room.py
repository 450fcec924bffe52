"""What a person asks of a box at the command line: score this file, show similar cases, find its results."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edge.bundle import open_bundle
from edge.config import Config
from edge.engines import open_engine
from edge.engines.opening import GpuPlace, find_gpu
from edge.engines.plans import PlanStore
from edge.errors import EdgeError, UsageError
from edge.imaging.decoder import Decoder
from edge.known_answer import known_answers
from edge.pipeline import Pipeline
from edge.similarity import SimilarCases
from edge.snapshot import snapshot
from edge.state import LEDGER, PLANS, SITE_KEY
from edge.store import LedgerReader
from edge.values import CASE_ID_DIGITS, Neighbour, case_id_of


@contextlib.contextmanager
def open_pipeline(config: Config, *, find: Callable[[], GpuPlace] = find_gpu) -> Iterator[Pipeline]:
    """A pipeline without ledger that has given the right answers to its golden cases, as the daemon's must.

    Identifiers are hashed with a key that is thrown away. Raises EngineError when an answer is wrong.
    """
    bundle = open_bundle(config.bundle, trusted_keys=config.trusted_keys)
    key = secrets.token_bytes(32)
    with Decoder(bundle.manifest.preprocessing, site_key=key, limit_s=config.decode_limit_s) as decoder:
        plans = kept_plans(config)
        engine = open_engine(bundle, backend=config.backend, precision=config.precision, plans=plans, find=find)
        try:
            known_answers(bundle, engine, decoder)
            yield Pipeline(bundle, engine, decoder, SimilarCases.of_bundle(bundle), k=config.neighbours)
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
    """The nearest reference cases of a file, or of a scored case in the ledger.

    Raises UsageError when `query` is neither, EdgeError when the file cannot be scored.
    """
    if Path(query).is_file():
        (file,) = existing([Path(query)])
        with open_pipeline(config) as pipeline:
            report = pipeline.report(file)
        if not report.scored:
            raise EdgeError(f"{query} is not scored ({report.reason}): {report.detail}")
        return report.neighbours
    ledger_path = Path(config.state, LEDGER)
    if len(query) != CASE_ID_DIGITS or not ledger_path.is_file():
        raise UsageError(f"{query} is neither a file nor a case of the ledger in {config.state}; check --state")
    bundle = open_bundle(config.bundle, trusted_keys=config.trusted_keys)
    with LedgerReader(ledger_path) as ledger:
        cases = {case.case_id: case for case in ledger.earlier_cases(bundle.id)}
    if query not in cases:
        raise UsageError(f"case {query} has no score from bundle {bundle.manifest.name}; check --bundle and --state")
    return SimilarCases.of_bundle(bundle).nearest(cases[query].embedding, config.neighbours, without=query)


def results_of(file: Path, config: Config) -> list[dict[str, object]]:
    """Every report that a file's bytes have in the ledger."""
    (file,) = existing([file])
    ledger_path = Path(config.state, LEDGER)
    if not ledger_path.is_file():
        raise UsageError(f"state folder {config.state} holds no ledger; check --state")
    with snapshot(file) as frozen:
        case_id = case_id_of(frozen.sha256)
    with LedgerReader(ledger_path) as ledger:
        return ledger.reports(case_id)
