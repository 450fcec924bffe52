"""A GPU without a plan: the CPU scores, a child builds, and the GPU's engine takes over once it is proved."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_cuda import PLAN, FakeCuda, FakeTensorRT, TooNewTensorRT
from fake_engine import mean_of
from prometheus_client.parser import text_string_to_metric_families
from tiny_bundle import write_tiny_bundle

from edge.building import PlanBuild, build_command
from edge.bundle import read_bundle, sign_bundle
from edge.config import Config
from edge.daemon import Daemon
from edge.engine_room import GpuRoute
from edge.engines import open_engine
from edge.engines.opening import GpuPlace
from edge.engines.plans import PlanStore, plan_key, record_of, write_plan
from edge.errors import BackendUnavailable, EngineError, Stopped
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.signature import public_key_of, sign
from edge.state import open_state
from edge.values import Report, Sighting
from export.build_cli import build as build_cli

PATIENCE_S = 60


def child(program: str) -> list[str]:
    return [sys.executable, "-c", program]


# What stands between the two lines of a library is the child's own.
SPEAKS = """
print("[TRT] some library talks")
print('{"progress": 0.25}', flush=True)
print("[]")
print('{"progress": "half of it"}')
print('{"progress": 1.0}', flush=True)
print('{"outcome": "built"}')
"""


def test_progress_is_told_and_other_lines_are_not_minded() -> None:
    told: list[float] = []
    PlanBuild(child(SPEAKS)).run(told.append)
    assert told == [0.25, 1.0]


def test_a_failed_build_gives_the_childs_last_line_as_its_reason() -> None:
    program = "import sys; print('warnings', file=sys.stderr); sys.exit('edge-cxr: the GPU is on fire')"
    with pytest.raises(EngineError, match=r"building the plan failed \(the GPU is on fire\)\. Run: edge-cxr build"):
        PlanBuild(child(program)).run(lambda fraction: None)
    with pytest.raises(EngineError, match=r"\(exit code 7\)"):
        PlanBuild(child("raise SystemExit(7)")).run(lambda fraction: None)


@pytest.mark.parametrize("more", [0, 5, 15])
def test_radiographs_come_first(more: int) -> None:
    """However courteous the daemon is itself: by as much as it was started with."""
    program = "import os, sys, time; time.sleep(0.5); sys.exit(f'niceness {os.nice(0)}')"
    daemon = f"""
import os
from edge.building import PlanBuild
os.nice({more})
PlanBuild({child(program)!r}).run(print)
"""
    done = subprocess.run(child(daemon), capture_output=True, text=True, check=False)
    assert f"(niceness {min(os.nice(0) + more + 10, 19)})" in done.stderr


def test_whatever_happens_the_child_ends(tmp_path: Path) -> None:
    program = f"""
import os, pathlib, time
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
print('{{"progress": 0.1}}', flush=True)
time.sleep(600)
"""
    with pytest.raises(ZeroDivisionError):
        PlanBuild(child(program)).run(lambda fraction: 1 / 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)


def test_a_build_that_is_stopped_ends_at_once() -> None:
    build = PlanBuild(child("import time; print('{\"progress\": 0.1}', flush=True); time.sleep(600)"))
    began = time.monotonic()
    with pytest.raises(Stopped):
        build.run(lambda fraction: build.stop())
    assert time.monotonic() - began < PATIENCE_S
    with pytest.raises(Stopped):
        build.run(lambda fraction: None)  # nor does it begin again


def test_the_childs_command_is_one_that_there_is(tmp_path: Path) -> None:
    """On a machine with a GPU it builds; here it gets as far as looking for one."""
    key = "ed25519:" + "A" * 43 + "="
    config = Config(bundle="phantom", precision="int8", state=str(tmp_path / "state"), trusted_keys=(key,))
    try:
        PlanBuild(build_command(config)).run(lambda fraction: None)
    except EngineError as fault:
        assert "no GPU can be used" in str(fault)


def test_the_child_builds_for_this_box_and_trusts_whom_it_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_CXR_CONFIG", "of-another-box.toml")
    keys = tuple("ed25519:" + letter * 43 + "=" for letter in "AB")
    config = Config(bundle="of its own", precision="fp16", state=str(tmp_path), trusted_keys=keys)
    arguments = build_command(config)
    asked = build_cli.make_context("build", arguments[arguments.index("build") + 1 :]).params
    assert {name: asked[name] for name in ("config", "bundle", "precision", "state", "trusted_keys")} == {
        "config": None, "bundle": "of its own", "precision": "fp16", "state": str(tmp_path), "trusted_keys": keys,
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


class Box:
    """A daemon with a fake GPU. The fake answers as the CPU does, unless told to answer wrongly."""

    def __init__(
        self,
        folder: Path,
        root: Path,
        *,
        right: bool = True,
        gpu: bool = True,
        program: str = "",
        backend: str = "auto",
        tensorrt: type[FakeTensorRT] = FakeTensorRT,
        trusted_keys: tuple[str, ...] = (),
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.incoming, self.state = root / "incoming", root / "state"
        self.incoming.mkdir()
        self.config = Config(
            state=str(self.state), bundle=str(folder), listen=self._address, scan_s=0.2, backend=backend,
            trusted_keys=trusted_keys,
        )  # fmt: skip
        self.bundle = read_bundle(folder)
        self.cudas: list[FakeCuda] = []
        self.reports: list[Report] = []
        self.said: list[str] = []
        self._cpu = open_engine(self.bundle, backend="openvino")
        self._answer = self._cpu.infer if right else mean_of
        self._program, self._gpu, self._tensorrt = program, gpu, tensorrt

    def find(self) -> GpuPlace:
        if not self._gpu:
            raise BackendUnavailable("no GPU is here; buy one")
        self.cudas.append(FakeCuda())
        return GpuPlace(self.cudas[-1], self._tensorrt(self.cudas[-1], self._answer).flavour())

    def keep_plan(self, *, signed_with: Ed25519PrivateKey | None = None) -> None:
        place = self.find()
        state = open_state(self.state)
        key = plan_key(self.bundle.model_bytes("fp32"), "fp32", place.flavour, place.cuda.gpu)
        if signed_with is None:
            PlanStore(state.plans, site_key=state.site_key).keep(key, PLAN)
        else:
            record = record_of(key, PLAN)
            write_plan(state.plans, key, PLAN, record, sign(record, signed_with).line)
        place.cuda.close()

    def radiograph(self, seed: int) -> Report:
        """Its report, once there is one."""
        before = len(self.reports)
        write_dicom(render(seed, "covid", longest_side=256), self.incoming / f"{seed}.dcm")
        wait_until(lambda: len(self.reports) > before)
        return self.reports[-1]

    def daemon(self, *, once: bool = False) -> Daemon:
        logger = logging.Logger("box")
        logger.addHandler(Keeping(self.said))
        route = GpuRoute(find=self.find, command=lambda config: child(self._program))
        return Daemon(self.config, self.incoming, once=once, logger=logger, on_report=self._seen, gpu=route)

    @contextmanager
    def running(self) -> Iterator[None]:
        daemon = self.daemon()
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            wait_until(lambda: "ready" in self.said or not thread.is_alive())
            assert thread.is_alive()
            yield
        finally:
            daemon.stop()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        assert all(cuda.closed for cuda in self.cudas)

    def metric(self, name: str, **labels: str) -> float | None:
        text = urllib.request.urlopen(f"http://{self._address}/metrics").read().decode()
        samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
        found = [one.value for one in samples if one.name == f"edge_cxr_{name}" and one.labels == labels]
        return found[0] if found else None

    def serving(self, backend: str) -> bool:
        return self.metric("backend_active", backend=backend, precision="fp32") == 1

    def _seen(self, sighting: Sighting, report: Report) -> None:
        self.reports.append(report)


class Keeping(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def waits_for(path: Path) -> str:
    """A build that is half done until a file appears."""
    return f"""
import pathlib, time
print('{{"progress": 0.5}}', flush=True)
while not pathlib.Path({str(path)!r}).exists():
    time.sleep(0.05)
print('{{"progress": 1.0}}', flush=True)
"""


def test_the_cpu_scores_until_the_plan_is_built_and_then_the_gpu(folder: Path, tmp_path: Path) -> None:
    box = Box(folder, tmp_path, program=waits_for(tmp_path / "go"))
    with box.running():
        assert any("the CPU scores: no fp32 plan" in line and "no plan is kept" in line for line in box.said)
        assert box.radiograph(1).engine.backend == "openvino"
        wait_until(lambda: box.metric("engine_build_progress_ratio") == 0.5)
        assert (box.serving("openvino"), box.serving("tensorrt")) == (True, False)
        box.keep_plan()
        (tmp_path / "go").touch()
        wait_until(lambda: box.serving("tensorrt"))
        assert not box.serving("openvino")
        report = box.radiograph(2)
        assert (report.engine.backend, report.engine.version) == ("tensorrt", "tensorrt 1.2.3")
        assert report.scored
        assert box.metric("engine_build_progress_ratio") == 1
        assert box.metric("engine_builds_total", outcome="built") == 1
        assert box.metric("ready") == 1
    written = [json.loads(path.read_bytes()) for path in (box.state / "results").rglob("*.json")]
    assert sorted(one["backend"] for one in written) == ["openvino", "tensorrt"]


def test_an_engine_that_answers_wrongly_never_serves(folder: Path, tmp_path: Path) -> None:
    box = Box(folder, tmp_path, right=False, program=waits_for(tmp_path / "go"))
    with box.running():
        box.keep_plan()
        (tmp_path / "go").touch()
        wait_until(lambda: box.metric("engine_builds_total", outcome="refused") == 1)
        assert box.radiograph(1).engine.backend == "openvino"
        assert box.serving("openvino")
        assert box.metric("ready") == 1
        assert box.metric("known_answer_tests_total", outcome="failed") == 1
    assert sum("the CPU goes on scoring: known-answer test failed" in line for line in box.said) == 1


def test_a_failed_build_is_told_once_and_the_cpu_goes_on(folder: Path, tmp_path: Path) -> None:
    box = Box(folder, tmp_path, program="raise SystemExit('edge-cxr: the disk is full')")
    with box.running():
        wait_until(lambda: box.metric("engine_builds_total", outcome="failed") == 1)
        assert box.radiograph(1).engine.backend == "openvino"
        assert box.serving("openvino")
    assert sum("the disk is full" in line for line in box.said) == 1


def test_a_build_that_leaves_no_plan_counts_as_failed(folder: Path, tmp_path: Path) -> None:
    box = Box(folder, tmp_path, program="")
    with box.running():
        wait_until(lambda: box.metric("engine_builds_total", outcome="failed") == 1)
        assert box.radiograph(1).engine.backend == "openvino"


def test_stopping_ends_the_build(folder: Path, tmp_path: Path) -> None:
    box = Box(folder, tmp_path, program=waits_for(tmp_path / "never"))
    with box.running():
        wait_until(lambda: box.metric("engine_build_progress_ratio") == 0.5)
        began = time.monotonic()
    assert time.monotonic() - began < PATIENCE_S / 2
    assert not any("goes on" in line for line in box.said)


def test_a_plan_that_is_kept_serves_from_the_start(folder: Path, tmp_path: Path) -> None:
    box = Box(folder, tmp_path, program="raise SystemExit('nothing is to be built')")
    box.keep_plan()
    with box.running():
        assert box.serving("tensorrt")
        assert box.radiograph(1).engine.backend == "tensorrt"
    assert not any("CPU" in line for line in box.said)


def test_a_plan_that_somebody_trusted_built_serves_too(tmp_path: Path) -> None:
    own = write_tiny_bundle(tmp_path / "tiny")
    key = Ed25519PrivateKey.generate()
    sign_bundle(own, key)
    box = Box(own, tmp_path, trusted_keys=(public_key_of(key),))
    box.keep_plan(signed_with=key)
    with box.running():
        assert box.radiograph(1).engine.backend == "tensorrt"


def test_with_too_old_a_driver_for_tensorrt_the_cpu_scores(folder: Path, tmp_path: Path) -> None:
    box = Box(folder, tmp_path, tensorrt=TooNewTensorRT, program="raise SystemExit('nothing is to be built')")
    box.keep_plan()
    with box.running():
        assert box.radiograph(1).engine.backend == "openvino"
    assert any("the CPU scores: tensorrt 1.2.3 does not start here" in line for line in box.said)


def test_a_kept_plan_that_answers_wrongly_does_not_serve_and_is_not_built_again(folder: Path, tmp_path: Path) -> None:
    box = Box(folder, tmp_path, right=False, program="raise SystemExit('nothing is to be built')", backend="tensorrt")
    box.keep_plan()
    with box.running():
        assert box.radiograph(1).engine.backend == "openvino"
        assert box.metric("ready") == 1
    assert any("the CPU scores: known-answer test failed" in line for line in box.said)
    assert not any("to be built" in line for line in box.said)


def test_a_single_run_builds_nothing(folder: Path, tmp_path: Path) -> None:
    box = Box(folder, tmp_path, program=f"import pathlib; pathlib.Path({str(tmp_path / 'built')!r}).touch()")
    write_dicom(render(1, "covid", longest_side=256), box.incoming / "1.dcm")
    box.daemon(once=True).run()
    assert [report.engine.backend for report in box.reports] == ["openvino"]
    advice = f"Run: edge-cxr build --precision fp32 --state {box.state} with the same --bundle"
    assert any(advice in line for line in box.said)
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("backend", ["auto", "tensorrt"])
def test_without_a_gpu_only_who_asks_for_it_by_name_is_refused(folder: Path, tmp_path: Path, backend: str) -> None:
    box = Box(folder, tmp_path, gpu=False, backend=backend)
    write_dicom(render(1, "covid", longest_side=256), box.incoming / "1.dcm")
    if backend == "tensorrt":
        with pytest.raises(BackendUnavailable, match="no GPU"):
            box.daemon(once=True).run()
    else:
        box.daemon(once=True).run()
    assert len(box.reports) == (backend == "auto")
