"""What a scrape of a running daemon shows of its folder, disk and ledger."""

import logging
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from tiny_bundle import write_tiny_bundle

from edge.config import Config
from edge.daemon import Daemon
from edge.phantom import render
from edge.phantom_dicom import write_dicom

PATIENCE_S = 60


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def running(config: Config, incoming: Path) -> Iterator[Callable[..., float]]:
    """A daemon in a thread, and what a scrape of it shows."""
    logger = logging.Logger("quiet")
    logger.addHandler(logging.NullHandler())
    daemon = Daemon(config, incoming, once=False, logger=logger)
    thread = threading.Thread(target=daemon.run)

    def metric(name: str, **labels: str) -> float:
        text = urllib.request.urlopen(f"http://{config.listen}/metrics").read().decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        (value,) = [one.value for one in samples if one.name == f"edge_cxr_{name}" and one.labels == labels]
        return value

    thread.start()
    try:
        wait_until(lambda: daemon._standing.not_ready is None or not thread.is_alive())
        time.sleep(0.2)  # files that come from here on are announced
        yield metric
    finally:
        daemon.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def wait_until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s, "it did not come to this in time"
        time.sleep(0.05)


def test_what_waits_what_is_scored_and_what_a_restart_knows_of_it(tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    config = Config(
        state=str(tmp_path / "state"), bundle=str(write_tiny_bundle(tmp_path / "tiny")), listen=free_address(),
        backend="openvino", after="archive", unfinished_after_s=0.5,
    )  # fmt: skip
    full = replace(config, reserve_percent=100.0, reserve_bytes=1 << 60)
    with running(full, incoming) as metric:
        write_dicom(render(1, "covid", longest_side=256), incoming / "a.dcm")
        wait_until(lambda: metric("intake_paused", reason="disk_space") == 1)
        wait_until(lambda: metric("oldest_waiting_seconds") > 0.5)
        assert metric("waiting_files") == 1
        assert metric("disk_reserve_bytes") > metric("disk_free_bytes")
        assert metric("last_arrival_timestamp_seconds") == 0
        assert metric("gpu_expected") == 0
    with running(config, incoming) as metric:
        wait_until(lambda: metric("studies_total", status="scored", reason="none") == 1)
        (incoming / "b.dcm").write_bytes((tmp_path / "tiny" / "manifest.json").read_bytes())
        wait_until(lambda: metric("quarantined_total") == 1)
        wait_until(lambda: metric("waiting_files") == 0)
        assert metric("oldest_waiting_seconds") == 0
        assert metric("stage_duration_seconds_count", stage="wait") == metric("end_to_end_seconds_count") == 2
        assert metric("end_to_end_seconds_sum") > metric("stage_duration_seconds_sum", stage="wait") > 0
        wait_until(lambda: metric("ledger_cases") == 2)
        assert metric("ledger_bytes") > 4096
        assert metric("cases_of_other_bundles") == 0
        scored_s, arrived_s = metric("last_success_timestamp_seconds"), metric("last_arrival_timestamp_seconds")
        assert 0 < scored_s < arrived_s < time.time()
    other = write_tiny_bundle(tmp_path / "other", operating_point=0.4)
    with running(replace(config, bundle=str(other), include_earlier_cases=True), incoming) as metric:
        assert abs(metric("last_success_timestamp_seconds") - scored_s) < 1  # as the ledger has it
        assert metric("last_arrival_timestamp_seconds") >= arrived_s
        assert (metric("ledger_cases"), metric("cases_of_other_bundles")) == (2, 1)
    with running(replace(config, bundle=str(other)), incoming) as metric:
        assert metric("cases_of_other_bundles") == 0  # none is looked for
