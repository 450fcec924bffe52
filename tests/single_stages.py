"""Take, Decode and Write on their own, with nobody who decodes unless told and an engine of the tests."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_engine import FakeEngine
from reports import BUNDLE, sighting_of
from tiny_bundle import write_tiny_bundle

from edge.bundle import read_bundle
from edge.in_flight import InFlight
from edge.inbox import Inbox
from edge.metrics import Metrics
from edge.pipeline import Pipeline
from edge.similarity import SimilarCases
from edge.stages import Decode, Take, Write
from edge.state import StateFolder
from edge.store import Ledger
from edge.values import FinishedCase, Report, Sighting


def pipeline_in(folder: Path, decoder: Any = None) -> Pipeline:
    bundle = replace(read_bundle(write_tiny_bundle(folder / "tiny")), id=BUNDLE)
    return Pipeline(bundle, FakeEngine(), decoder, SimilarCases.of_bundle(bundle))


def seen(tmp_path: Path, name: str) -> Sighting:
    (tmp_path / name).write_bytes(name.encode())
    return sighting_of(tmp_path / name)


def writing(
    pipeline: Pipeline,
    ledger: Ledger,
    state: StateFolder,
    *,
    finished: Callable[[Report], None] = lambda report: None,
    put_away: Callable[[FinishedCase], None] = lambda case: None,
    in_flight: InFlight | None = None,
    metrics: Metrics | None = None,
    logger: logging.Logger | None = None,
    is_faulty: Callable[[], bool] = lambda: False,
) -> Write:
    return Write(
        pipeline,
        ledger,
        state,
        lambda sighting, case: put_away(case),
        metrics or Metrics(),
        logger or logging.Logger("quiet"),
        lambda sighting, report: finished(report),
        in_flight=InFlight() if in_flight is None else in_flight,
        is_faulty=is_faulty,
    )


def decoding(
    pipeline: Pipeline,
    *,
    look_again: Callable[[Sighting], None] = lambda sighting: None,
    in_flight: InFlight | None = None,
) -> Decode:
    return Decode(pipeline, look_again, in_flight=InFlight() if in_flight is None else in_flight)


def taking(
    ledger: Ledger,
    state: StateFolder,
    inbox: Inbox,
    *,
    put_away: Callable[[FinishedCase], None] = lambda case: None,
    in_flight: InFlight | None = None,
    stays: bool = False,
    logger: logging.Logger | None = None,
    **options: Any,
) -> Take:
    return Take(
        ledger,
        inbox,
        state,
        lambda sighting, case: put_away(case),
        logger or logging.Logger("quiet"),
        in_flight=InFlight() if in_flight is None else in_flight,
        unfinished_after_s=60,
        stays=stays,
        **options,
    )
