"""What a measurement was made on: machine, versions and command. Every result file carries it."""

import os
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import edge

PACKAGES = ("openvino", "numpy", "opencv-python-headless", "pydicom", "usearch", "apsw")


def describe_machine() -> dict[str, object]:
    """Processor, cores, memory, system, versions and the command line, without names or paths of this machine."""
    command = ["edge-cxr" if number == 0 else word for number, word in enumerate(sys.argv)]
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"edge-cxr": edge.__version__, **{name: version(name) for name in PACKAGES}},
        "command": shlex.join(word if not Path(word).is_absolute() else Path(word).name for word in command),
    }


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
