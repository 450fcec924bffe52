"""Another bundle or configuration while the daemon runs: nothing is lost, and what does not prove itself is refused."""

import gc
import json
import shutil
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from running_daemon import Kept, running, wait_until
from shelf_bundles import used_state, variant, wrong
from tiny_bundle import write_tiny_bundle

from edge.config import Config
from edge.daemon import Daemon
from edge.engine_room import EngineRoom, GpuRoute
from edge.engines import Engine
from edge.errors import UsageError
from edge.imaging.decode_pool import Decodes
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.shelf import MARK, open_configured, read_mark
from edge.shelf_changes import activate, install, roll_back
from edge.state import StateFolder
from edge.values import Report


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("radiographs")
    for seed in range(8):
        write_dicom(render(seed, "covid", longest_side=128), folder / f"{seed}.dcm")
    return sorted(folder.iterdir())


class Ward:
    """A box with two bundles, the first of them active, and what its daemon reports."""

    def __init__(self, folder: Path, tiny: Path) -> None:
        self.folder, self.incoming = folder, folder / "incoming"
        self.incoming.mkdir()
        self.state: StateFolder = used_state(folder / "state")
        self.config = Config(state=str(self.state.root), bundle="active", listen="", scan_s=0.5, backend="openvino")
        sources = [variant(tiny, folder / name, name=name) for name in ("first", "second")]
        self.first, self.second = [install(source, self.state, self.config).folder.name for source in sources]
        self.activate(self.first)
        self.wanted: Callable[[], Config] = lambda: self.config
        self.reports: list[Report] = []
        self.log = Kept()
        self.opens, self.may_open = threading.Event(), threading.Event()  # of a bundle named wrong
        ward = self

        class Room(EngineRoom):
            def first(self, decoder: Decodes) -> Engine:
                if self._bundle.manifest.name == "wrong":
                    ward.opens.set()
                    ward.may_open.wait(60)
                return super().first(decoder)

        self.daemon = Daemon(
            self.config,
            self.incoming,
            once=False,
            logger=self.log.logger,
            reread=lambda: self.wanted(),  # noqa: PLW0108 - whichever it is by then
            on_report=lambda _, report: self.reports.append(report),
            open_room=Room,
        )

    def activate(self, key: str) -> None:
        activate(key, self.state, self.config, lambda _: "openvino fp32")

    def mark(self, key: str) -> None:
        """As if it had proved itself to the command and does not to the daemon."""
        told = {"active": key, "before": [read_mark(self.state.root).active]}
        (self.state.root / "bundles" / MARK).write_text(json.dumps(told))

    def send(self, *paths: Path) -> None:
        for path in paths:
            shutil.copy(path, self.incoming / f".{path.name}")
            (self.incoming / f".{path.name}").rename(self.incoming / path.name)

    def bundles(self) -> list[str]:
        """Of the reports, in order."""
        return [report.bundle_id[:12] for report in self.reports]

    def counted(self, sample: str) -> bool:
        return f"edge_cxr_{sample}\n" in self.daemon._metrics.exposition().decode()


@pytest.fixture
def ward(tmp_path: Path, tiny: Path) -> Ward:
    return Ward(tmp_path, tiny)


def test_a_bundle_that_is_activated_takes_over_and_nothing_is_lost(ward: Ward, radiographs: list[Path]) -> None:
    with running(ward.daemon):
        ward.send(radiographs[0])
        wait_until(lambda: ward.bundles() == [ward.first])
        assert ward.daemon._scoring is not None
        first = weakref.ref(ward.daemon._scoring._bundle)
        ward.send(*radiographs[1:5])  # in flight, or not yet taken, while the bundles change
        ward.activate(ward.second)
        wait_until(lambda: ward.counted('bundle_switches_total{outcome="taken"} 1.0'))
        wait_until(lambda: len(ward.reports) == 5)
        wait_until(lambda: gc.collect() >= 0 and first() is None)  # its bytes may be half a gigabyte
        ward.send(radiographs[5])
        wait_until(lambda: len(ward.reports) == 6)
        assert ward.bundles()[-1] == ward.second
        assert ward.bundles() == sorted(ward.bundles(), key=[ward.first, ward.second].index)
        roll_back(ward.state, ward.config, lambda _: "openvino fp32")
        wait_until(lambda: ward.counted('bundle_switches_total{outcome="taken"} 2.0'))
        ward.send(radiographs[6])
        wait_until(lambda: len(ward.reports) == 7)
    assert ward.bundles()[-1] == ward.first
    assert len({report.case_id for report in ward.reports}) == 7
    for report in ward.reports:
        path = ward.state.results(report.bundle_id) / f"{report.case_id}.json"
        assert json.loads(path.read_bytes())["bundle"] == report.bundle_id


@pytest.mark.parametrize("fault", ["wrong answers", "damaged"])
def test_what_does_not_prove_itself_is_refused_and_the_former_goes_on(
    ward: Ward, tiny: Path, radiographs: list[Path], fault: str
) -> None:
    ward.may_open.set()
    other = install(wrong(tiny, ward.folder / "wrong"), ward.state, ward.config).folder
    if fault == "damaged":
        (other / "model.fp32.onnx").write_bytes(b"damaged")
    with running(ward.daemon):
        ward.mark(other.name)
        wait_until(lambda: ward.counted('bundle_switches_total{outcome="refused"} 1.0'))
        wait_until(lambda: ward.daemon._standing.not_ready is None)
        ward.send(radiographs[0])
        wait_until(lambda: ward.reports)
        assert ward.bundles() == [ward.first]
        told = [line for line in ward.log.lines if "the former configuration" in line or "is not changed" in line]
        assert len(told) == 1
        if fault == "wrong answers":
            assert "known-answer test failed" in told[0]
            assert "; wrong " in ward.daemon._standing.line()
            assert "was refused" in ward.daemon._standing.line()
            roll_back(ward.state, ward.config, lambda _: "openvino fp32")
            wait_until(lambda: "refused" not in ward.daemon._standing.line())
        ward.activate(ward.second)  # what comes next is taken, and all is well
        wait_until(lambda: ward.counted('bundle_switches_total{outcome="taken"} 1.0'))
        assert "refused" not in ward.daemon._standing.line()
        assert ward.counted('bundle_switches_total{outcome="refused"} 1.0')


def test_a_damaged_bundle_that_was_repaired_is_tried_when_activated_again(ward: Ward) -> None:
    model = ward.state.root / "bundles" / ward.second / "model.fp32.onnx"
    model.write_bytes(b"damaged")
    with running(ward.daemon):
        ward.mark(ward.second)
        wait_until(lambda: ward.counted('bundle_switches_total{outcome="refused"} 1.0'))
        assert install(ward.folder / "second", ward.state, ward.config).is_new
        ward.activate(ward.second)
        wait_until(lambda: ward.counted('bundle_switches_total{outcome="taken"} 1.0'))
        assert ward.daemon._standing.line().startswith(f"scores with second {ward.second}")


@pytest.mark.parametrize("meanwhile", ["another", "stop"])
def test_what_is_wanted_while_a_bundle_opens_that_is_refused(ward: Ward, tiny: Path, meanwhile: str) -> None:
    """It is not lost with the refused one; and a stop is a stop, and no fault."""
    other = install(wrong(tiny, ward.folder / "wrong"), ward.state, ward.config).folder
    with running(ward.daemon):
        ward.mark(other.name)
        wait_until(ward.opens.is_set)
        if meanwhile == "another":
            ward.daemon._standing.not_ready = None
            ward.activate(ward.second)
            wait_until(lambda: ward.daemon._standing.not_ready is not None)
        else:
            ward.daemon.stop()
        ward.may_open.set()
        wait_until(lambda: ward.counted('bundle_switches_total{outcome="refused"} 1.0'))
        if meanwhile == "another":
            wait_until(lambda: ward.counted('bundle_switches_total{outcome="taken"} 1.0'))
            wait_until(lambda: ward.daemon._standing.line().startswith(f"scores with second {ward.second}"))


def test_the_plan_is_built_of_the_bundle_that_scores(ward: Ward) -> None:
    """Whichever is active by then: after a refusal that is another."""
    asked: list[str] = []
    gpu = GpuRoute(command=lambda config: [asked.append(config.bundle) or ""])
    bundle = open_configured(ward.config)
    ward.mark(ward.second)
    EngineRoom(
        ward.config, bundle, ward.state, metrics=ward.daemon._metrics, logger=ward.log.logger, gpu=gpu
    ).plan_build()
    assert asked == [str(ward.state.root / "bundles" / ward.first)]


def test_another_configuration_is_read_and_a_broken_one_is_not(ward: Ward, radiographs: list[Path]) -> None:
    def broken() -> Config:
        raise UsageError("unknown key 'neighbors'; did you mean neighbours?")

    with running(ward.daemon):
        ward.wanted = lambda: replace(ward.config, neighbours=2, listen="127.0.0.1:1")
        ward.daemon.reload()
        wait_until(lambda: ward.counted('reloads_total{outcome="taken"} 1.0'))
        assert any("listen has changed" in line for line in ward.log.lines)
        ward.wanted = broken
        ward.daemon.reload()
        wait_until(lambda: ward.counted('reloads_total{outcome="refused"} 1.0'))
        assert any("did you mean neighbours?" in line for line in ward.log.lines)
        ward.send(radiographs[0])
        wait_until(lambda: ward.reports)
        ward.wanted = lambda: replace(ward.config, bundle=str(ward.folder / "nowhere"))
        ward.daemon.reload()
        wait_until(lambda: ward.counted('reloads_total{outcome="refused"} 2.0'))
    assert len(ward.reports[0].neighbours) == 2
