"""CPU, GPU and clock."""

import os
import time

from edge.bundle import Bundle
from edge.config import Config
from edge.doctor.check import Finding, failed, warning
from edge.doctor.machine import Machine
from edge.engines.opening import GpuPlace, open_tensorrt
from edge.errors import BackendUnavailable, EngineError, OutOfMemory, PlanMissing
from edge.gpu_presence import gpu_expected
from edge.reading_room import kept_plans

# What multiplies 8-bit numbers and adds them up without overflow, best first; as the kernel names it.
_INT8 = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "i8mm": "I8MM",
    "asimddp": "dot products",
}
_BF16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512", "bf16": "NEON"}


def cpu(config: Config, machine: Machine) -> Finding:
    """In int8 the older instructions add up in 16 bits, which may overflow, and take longer."""
    features = _features((machine.proc / "cpuinfo").read_text(encoding="ascii", errors="replace"))
    if not features:
        return warning("the kernel does not tell what the CPU can do; compare edge-cxr bench with docs/engines.md")
    cores = f"{len(os.sched_getaffinity(0))} cores"
    bf16 = _first(_BF16, features)
    unused = f"; its bf16 ({bf16}) is not used: scores would depend on the machine" if bf16 else ""
    int8 = _first(_INT8, features)
    if int8 is None and config.precision in ("auto", "int8"):
        return warning(
            f"{cores} without VNNI, AMX or the like: int8 takes longer, and its sums may overflow. Go by the known "
            'answers below and edge-cxr bench; else set precision = "fp32", or take a newer CPU'
        )
    return Finding(f"{cores}, int8 by {int8 or 'older instructions'}{unused}")


def _features(cpuinfo: str) -> set[str]:
    """Of the first core: a list called flags on x86, Features on ARM."""
    for line in cpuinfo.splitlines():
        name, _, listed = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(listed.split())
    return set()


def _first(names: dict[str, str], features: set[str]) -> str | None:
    return next((told for feature, told in names.items() if feature in features), None)


def clock(machine: Machine) -> Finding:
    """Retention counts by it, and every report, log line and backup is dated by it."""
    told = machine.clock()
    if told.now_s < told.written_s:
        return failed(f"the clock says {_day(told.now_s)}, and the program was put here on {_day(told.written_s)}; "
                      "set the clock, and check the battery behind it")  # fmt: skip
    if told.synchronised is None:
        return warning("the kernel does not tell whether the clock is synchronised; check: timedatectl")
    if not told.synchronised:
        return warning("the clock is not synchronised; run an NTP client (with chrony: rtcsync in its configuration), "
                       "and check: timedatectl")  # fmt: skip
    return Finding(f"synchronised, {_day(told.now_s)}")


def _day(at_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at_s))


def gpu(config: Config, bundle: Bundle, machine: Machine) -> Finding:
    """Without a GPU all is well, unless one was asked for by name. A missing plan is built while the box serves."""
    if config.backend == "openvino":
        return Finding("not asked for")
    places: list[GpuPlace] = []

    def found() -> GpuPlace:
        places.append(machine.find_gpu())
        return places[-1]

    try:
        engine = open_tensorrt(bundle, config.precision, kept_plans(config), find=found)
    except (PlanMissing, OutOfMemory) as fault:
        return warning(f"the CPU scores{' until a plan is built' if isinstance(fault, PlanMissing) else ''}: {fault}")
    except EngineError as fault:
        if config.backend == "tensorrt":
            raise
        is_there = gpu_expected(config.backend, devices=machine.sys / "bus/pci/devices")
        is_normal = isinstance(fault, BackendUnavailable) and not is_there
        return Finding(f"none: the CPU scores ({fault})") if is_normal else warning(f"the CPU scores: {fault}")
    engine.close()
    seen, flavour, identity = places[0].cuda.gpu, places[0].flavour, engine.identity
    return Finding(f"{seen.name} ({seen.compute_capability}), driver {seen.driver}, {flavour.name} {flavour.version}: "
                   f"runs its {identity.precision} plan ({identity.version})")  # fmt: skip
