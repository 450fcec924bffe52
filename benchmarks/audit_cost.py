"""What the audit log costs: a scored case recorded with and without its entry, an entry's bytes, and verifying.

    python -m benchmarks.audit_cost --out benchmarks/results/audit-cost.json

The two ledgers lie side by side and take turns, case by case, so that whatever else the machine does meets both alike.
"""

import dataclasses
import json
import resource
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.child import call_apart
from benchmarks.machine import describe_machine
from edge.audit import Event
from edge.audit_log import AuditLog
from edge.outputs.report_json import encode
from edge.store import Ledger
from edge.values import EngineIdentity, Neighbour, Prediction, Report, Sighting, Source

KEY = bytes(32)
_ENGINE = EngineIdentity("b" * 64, "openvino", "int8", "2026.1")
_AT_ONCE = 10_000
_LIMIT_S = 1800.0


class Unaudited(Ledger):
    """As it would be without the log."""

    def append(self, *_: object, **__: object) -> None:
        pass


@dataclass(frozen=True)
class RecordCost:
    """Medians over all cases: time by the clock, and the processor's time in it. ratio: with over without.

    entry_bytes: by how much the ledger is larger, for each case.
    """

    cases: int
    with_s: float
    without_s: float
    ratio: float
    with_cpu_s: float
    without_cpu_s: float
    ledger_bytes_without: int
    entry_bytes: float


@dataclass(frozen=True)
class VerifyCost:
    """memory_bytes: by how much the process grew at most."""

    entries: int
    ledger_bytes: int
    verify_s: float
    entries_per_s: float
    memory_bytes: int


def report(number: int) -> Report:
    """As long as a report of the packaged bundle."""
    sha256 = f"{number:064x}"[::-1]
    nothing = np.zeros((1, 1), np.float32)
    embedding = np.random.default_rng(number).normal(size=128).astype(np.float32)
    return Report(
        sha256=sha256,
        format="dicom",
        bundle_id=_ENGINE.bundle_id,
        source=Source(sha256, "dicom", 3000, 2500, "c" * 64, "AP", instance_key=sha256, patient_key=sha256),
        engine=_ENGINE,
        prediction=Prediction(0.75, {"resnet50": 0.75}, embedding, nothing, nothing, _ENGINE),
        lung_fraction=0.3,
        neighbours=tuple(Neighbour(f"{near:016x}", 0.5123456, "covid", 0.9123456) for near in range(4)),
        timings_s=dict.fromkeys(("decode", "preprocess", "infer", "retrieve", "total"), 0.123456),
    )


def measure_record(folder: Path, cases: int) -> RecordCost:
    paths = {Ledger: folder / "with.sqlite", Unaudited: folder / "without.sqlite"}
    spent_s: dict[type[Ledger], list[tuple[float, float]]] = {kind: [] for kind in paths}
    sighting = Sighting(folder / "chest.dcm", 1, 1, 1)
    opened = {kind: kind(path, site_key=KEY) for kind, path in paths.items()}
    for number in range(cases):
        made = report(number)
        document, seen = encode(made), dataclasses.replace(sighting, path=folder / f"{number}.dcm")
        for kind in sorted(opened, key=lambda kind: (kind is Ledger) == bool(number % 2)):
            started, started_cpu = time.perf_counter(), time.thread_time()
            opened[kind].record(made, document, seen)
            spent_s[kind].append((time.perf_counter() - started, time.thread_time() - started_cpu))
    for ledger in opened.values():
        ledger.close()
    (with_s, with_cpu_s), (without_s, without_cpu_s) = (
        tuple(map(statistics.median, zip(*spent_s[kind], strict=True))) for kind in (Ledger, Unaudited)
    )
    larger, smaller = (paths[kind].stat().st_size for kind in (Ledger, Unaudited))
    return RecordCost(cases, with_s, without_s, with_s / without_s, with_cpu_s, without_cpu_s, smaller,
                      (larger - smaller) / cases)  # fmt: skip


def measure_verify(job: tuple[Path, int]) -> VerifyCost:
    """job: a folder, and how many entries."""
    folder, entries = job
    path = folder / "ledger.sqlite"
    detail = {"bundle": "b" * 12, "backend": "openvino", "precision": "int8"}
    with Ledger(path, site_key=KEY) as ledger:
        for first in range(0, entries, _AT_ONCE):
            with ledger._transaction() as connection:
                for number in range(first, min(first + _AT_ONCE, entries)):
                    ledger.append(connection, Event.SCORED, detail, case_id=f"{number:016x}")
    return call_apart(_verified, path, limit_s=_LIMIT_S)


def _verified(path: Path) -> VerifyCost:
    before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with AuditLog(path, site_key=KEY) as log:
        started = time.perf_counter()
        check = log.verify()
        verify_s = time.perf_counter() - started
    assert not check.fault_count
    memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before_bytes
    return VerifyCost(check.entries, path.stat().st_size, verify_s, check.entries / verify_s, memory_bytes)


@click.command()
@click.option("--cases", type=click.IntRange(1), default=3000, show_default=True, help="Recorded in each ledger.")
@click.option("--entries", type=click.IntRange(1), default=1_000_000, show_default=True, help="Verified.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON to a file too.")
@click.option("--scratch", type=click.Path(path_type=Path), help="Folder on the disk to be measured  [the system's].")
def main(cases: int, entries: int, out: Path | None, scratch: Path | None) -> None:
    """Measure the audit log; a million entries need 300 MB of disk and about a minute."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        recorded = measure_record(Path(folder), cases)
        verified = call_apart(measure_verify, (Path(folder), entries), limit_s=_LIMIT_S)
    told = {"machine": describe_machine("python -m benchmarks.audit_cost"), "record": asdict(recorded),
            "verify": asdict(verified)}  # fmt: skip
    text = json.dumps(told, indent=1)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    click.echo(text)


if __name__ == "__main__":
    main()
