"""What is looked up at each scrape of /metrics: queues, files that wait, the disk, the ledger.

What happens is counted when it does (metrics.py). Each look is cheap, however much there is.
"""

import contextlib
import shutil
from collections.abc import Iterator
from functools import partial

from edge.in_flight import InFlight
from edge.intake import Intake
from edge.ledger_counts import LedgerCounts
from edge.ledger_reader import LedgerReader
from edge.line import Line
from edge.metrics import Metrics
from edge.stages import Taken
from edge.state import StateFolder


def measure_intake(metrics: Metrics, intake: Intake, line: Line[Taken], in_flight: InFlight) -> None:
    """From the incoming folder to the last stage."""
    inbox = intake.inbox

    def since_s() -> float | None:
        both = (inbox.oldest_complete_s(), in_flight.oldest_complete_s())
        return min((one_s for one_s in both if one_s is not None), default=None)

    metrics.waits(lambda: inbox.waiting_files + len(in_flight), since_s)
    metrics.unopenable_files.set_function(lambda: inbox.unopenable)
    for stage in line.stages:
        metrics.queue_depth.labels(stage.name).set_function(partial(line.depth, stage.name))


def measure_disk(metrics: Metrics, intake: Intake, state: StateFolder) -> None:
    metrics.disk_free.set_function(lambda: shutil.disk_usage(state.root).free)
    metrics.disk_reserve.set_function(lambda: intake.reserve_bytes)


@contextlib.contextmanager
def ledger_measured(metrics: Metrics, state: StateFolder, bundle_id: str, *, searched: bool) -> Iterator[None]:
    """Afterwards what was seen last is told. searched: earlier cases are looked for, so that some may be missed."""
    with LedgerReader(state.ledger) as reader:
        counts = LedgerCounts(state.ledger, reader, bundle_id)
        metrics.ledger_bytes.set_function(lambda: counts.look().size_bytes)  # once for all three
        metrics.ledger_cases.set_function(lambda: counts.seen.cases)
        metrics.cases_of_other_bundles.set_function(lambda: counts.seen.of_others if searched else 0)
        counts.look()
        yield
