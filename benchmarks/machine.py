"""What a measurement was made on: machine, GPU, versions and command. Every result file carries it."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import edge

PACKAGES = ("openvino", "numpy", "opencv-python-headless", "pydicom", "usearch", "apsw")
GPU_PACKAGES = ("torch", "tensorrt", "tensorrt-rtx", "torch-tensorrt", "torch-tensorrt-rtx", "pycuda", "onnxruntime",
                "onnxruntime-gpu", "openvino", "onnx", "timm", "numpy")  # fmt: skip
_GPU = ("name", "driver_version", "memory.total", "compute_cap", "power.limit", "clocks.max.sm")
_GPU_NOW = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw", "clocks_event_reasons.active")


def describe_machine(
    program: str = "edge-cxr", packages: Sequence[str] = PACKAGES, *, unnamed: Collection[Path] = ()
) -> dict[str, object]:
    """Processor, cores, memory, system, versions and the command line, without names or paths of this machine.

    A package that is not installed has the version null. unnamed: files whose very name may be a patient's.
    """
    command = [*program.split(), *("FILE" if Path(word) in unnamed else word for word in sys.argv[1:])]
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"edge-cxr": edge.__version__, **{name: _version(name) for name in packages}},
        "command": shlex.join(word if not Path(word).is_absolute() else Path(word).name for word in command),
    }


def describe_gpu() -> dict[str, str]:
    """The first GPU as its driver describes it; empty without one."""
    return _ask_driver(_GPU)


def gpu_now() -> dict[str, str]:
    """Clocks, temperature and power at this moment, and why clocks are held down (a bit mask); empty without a GPU."""
    return _ask_driver(_GPU_NOW)


def _ask_driver(fields: Sequence[str]) -> dict[str, str]:
    asked = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(fields, (value.strip() for value in told.strip().split(",")), strict=False))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The model name and the instruction sets that decide how fast int8 and bf16 are."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    found = dict(line.split("\t:", 1) for line in lines if "\t:" in line)
    name = found.get("model name\t", found.get("model name", "unknown")).strip()
    flags = set(found.get("flags\t", found.get("flags", "")).split())
    sets = [flag for flag in ("avx2", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16") if flag in flags]
    return f"{name} ({', '.join(sets)})"
