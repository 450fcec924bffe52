"""CPU, clock and GPU: what each machine is told."""

import ctypes
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from fake_cuda import PLAN, FakeCuda, FakeTensorRT
from machines import machine

from edge.bundle import Bundle, read_bundle
from edge.config import Config
from edge.doctor import hardware
from edge.doctor.check import Outcome, run
from edge.doctor.machine import Clock, read_clock, synchronised
from edge.engines.opening import GpuPlace
from edge.engines.plans import PlanStore, plan_key
from edge.errors import EngineError
from edge.state import open_state

YEAR_S = 365 * 86_400.0


@pytest.mark.parametrize(
    ("features", "outcome", "told"),
    [
        ("avx2 avx512_vnni amx_int8 amx_bf16", "passed", "int8 by AMX; its bf16 (AMX) is not used"),
        ("avx2 avx512_vnni", "passed", "int8 by AVX-512 VNNI"),
        ("avx2 avx_vnni", "passed", "int8 by AVX-VNNI"),
        (
            "avx2 avx512f",
            "warning",
            "its sums may overflow. Go by the known answers",
        ),
    ],
)
def test_what_the_cpu_does_int8_with(tmp_path: Path, features: str, outcome: str, told: str) -> None:
    here = machine(tmp_path, cpuinfo=f"processor : 0\nflags : fpu {features}\n\nprocessor : 1\nflags : amx_int8\n")
    found = hardware.cpu(Config(), here)
    assert found.outcome == outcome
    assert told in found.text


def test_an_arm_cpu_calls_its_features_otherwise(tmp_path: Path) -> None:
    found = hardware.cpu(Config(), machine(tmp_path, cpuinfo="processor : 0\nFeatures : fp asimd asimddp\n"))
    assert (found.outcome, "int8 by dot products" in found.text) == (Outcome.PASSED, True)


def test_who_scores_in_fp32_needs_no_int8(tmp_path: Path) -> None:
    here = machine(tmp_path, cpuinfo="flags : avx2\n")
    assert hardware.cpu(Config(precision="fp32"), here).outcome == Outcome.PASSED
    assert hardware.cpu(Config(precision="int8"), here).outcome == Outcome.WARNING


def test_a_cpu_that_tells_nothing(tmp_path: Path) -> None:
    assert hardware.cpu(Config(), machine(tmp_path, cpuinfo="processor : 0\n")).outcome == Outcome.WARNING


@pytest.mark.parametrize(
    ("clock", "outcome", "told"),
    [
        (Clock(50 * YEAR_S, True, 49 * YEAR_S), "passed", "synchronised, 2019-12-20"),
        (Clock(50 * YEAR_S, False, 49 * YEAR_S), "warning", "run an NTP client"),
        (Clock(50 * YEAR_S, None, 49 * YEAR_S), "warning", "check: timedatectl"),
        (Clock(1 * YEAR_S, True, 49 * YEAR_S), "failed", "says 1971-01-01, and the program was put here on 2018-12-20"),
    ],
)
def test_the_clock(tmp_path: Path, clock: Clock, outcome: str, told: str) -> None:
    found = hardware.clock(replace(machine(tmp_path), clock=lambda: clock))
    assert found.outcome == outcome
    assert told in found.text


def test_this_machines_clock_is_read() -> None:
    told = read_clock()
    assert told.synchronised in (True, False, None)
    assert 0 < told.written_s < told.now_s


@pytest.mark.parametrize(
    ("status", "answer", "told"), [(0x2001, 0, True), (0x2041, 5, False), (0x40, 5, False), (0, -1, None)]
)
def test_what_the_kernel_says_of_the_clock(status: int, answer: int, told: bool | None) -> None:
    """As adjtimex(2) of a 64-bit Linux: the status is the int after modes and four longs."""

    def adjtimex(buffer: ctypes.Array[ctypes.c_char]) -> int:
        assert buffer.raw == bytes(208)  # nothing is set
        struct.pack_into("@Illlli", buffer, 0, 0, -1, -1, -1, -1, status)
        return answer

    assert synchronised(adjtimex) is told


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return read_bundle(bundle_folder)


def plugged_in(root: Path) -> None:
    for name, vendor, kind in (("0000:00", "0x8086", "0x030000"), ("0000:01", "0x10de", "0x040300")):
        write_device(root, name, vendor, kind)  # another's display, and NVIDIA's sound


def write_device(root: Path, name: str, vendor: str, kind: str) -> None:
    folder = root / "sys/bus/pci/devices" / name
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{kind}\n")


def test_without_a_gpu_all_is_well_unless_it_is_asked_for_or_plugged_in(bundle: Bundle, tmp_path: Path) -> None:
    here = machine(tmp_path)
    plugged_in(tmp_path)
    assert hardware.gpu(Config(backend="openvino"), bundle, here).text == "not asked for"
    assert hardware.gpu(Config(), bundle, here).outcome == Outcome.PASSED
    asked = run("GPU", partial(hardware.gpu, Config(backend="tensorrt"), bundle, here))
    assert (asked.outcome, "there is no driver" in asked.finding) == (Outcome.FAILED, True)
    write_device(tmp_path, "0000:02", "0x10de", "0x030200")
    found = hardware.gpu(Config(), bundle, here)
    assert (found.outcome, found.text) == (Outcome.WARNING, "the CPU scores: no GPU can be used: there is no driver")


def test_a_gpu_with_and_without_a_plan(bundle: Bundle, tmp_path: Path) -> None:
    cuda = FakeCuda()

    def find() -> GpuPlace:
        return GpuPlace(cuda, FakeTensorRT(cuda).flavour())

    here, config = replace(machine(tmp_path), find_gpu=find), Config(state=str(tmp_path / "state"))
    state = open_state(tmp_path / "state")
    found = hardware.gpu(config, bundle, here)
    assert found.outcome == Outcome.WARNING
    assert "the CPU scores until a plan is built" in found.text
    assert "Run: edge-cxr build" in found.text
    cuda = FakeCuda()
    key = plan_key(bundle.model_bytes("fp32"), "fp32", find().flavour, cuda.gpu)
    PlanStore(state.plans, site_key=state.site_key).keep(key, PLAN)
    found = hardware.gpu(config, bundle, here)
    assert found.outcome == Outcome.PASSED
    assert all(word in found.text for word in (cuda.gpu.name, f"driver {cuda.gpu.driver}", "tensorrt", "fp32 plan"))
    assert cuda.closed


def test_a_gpu_that_fails_is_a_warning_where_the_cpu_may_score(bundle: Bundle, tmp_path: Path) -> None:
    def find() -> GpuPlace:
        raise EngineError("CUDA failed")

    here = replace(machine(tmp_path), find_gpu=find)
    assert hardware.gpu(Config(), bundle, here).outcome == Outcome.WARNING
    assert run("GPU", partial(hardware.gpu, Config(backend="tensorrt"), bundle, here)).outcome == Outcome.FAILED
