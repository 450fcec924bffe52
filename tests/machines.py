"""Machines for `edge-cxr doctor`: in good order, without a GPU or systemd, unless a test says otherwise."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from edge.doctor.machine import Clock, Machine, Unit, User
from edge.engines.opening import GpuPlace
from edge.errors import BackendUnavailable

SERVICE = User(4321, 4321, (), "edge-cxr")
RUNNING = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "Result": "success",
    "NRestarts": "0",
    "NeedDaemonReload": "no",
    "User": "edge-cxr",
    "StatusText": "scores with research 06bf8c43afd3 on openvino int8",
    "ExecStart": "{ path=/opt/edge-cxr/venv/bin/edge-cxr ; argv[]=/opt/edge-cxr/venv/bin/edge-cxr watch "
    "/srv/edge-cxr/incoming --config /etc/edge-cxr/edge-cxr.toml --state /var/lib/edge-cxr ; ignore_errors=no ; "
    "start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }",
}
XEON = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n"


def unit(**changed: str) -> Unit:
    return Unit({**RUNNING, **changed})


def no_gpu() -> GpuPlace:
    raise BackendUnavailable("no GPU can be used: there is no driver")


def machine(root: Path, *, cpuinfo: str = XEON, watches: int = 10_000, instances: int = 128) -> Machine:
    """In good order, without a GPU or systemd; everyone may do everything."""
    limits = root / "proc/sys/fs/inotify"
    limits.mkdir(parents=True)
    (root / "proc/cpuinfo").write_text(cpuinfo)
    (limits / "max_user_watches").write_text(f"{watches}\n")
    (limits / "max_user_instances").write_text(f"{instances}\n")
    return Machine(
        proc=root / "proc",
        sys=root / "sys",
        unit=Unit,
        clock=lambda: Clock(time.time(), True, 0.0),
        user_named=lambda name: replace(SERVICE, name=name) if name == SERVICE.name else None,
        may=lambda user, path, letters: True,
        find_gpu=no_gpu,
    )


@dataclass(frozen=True)
class Files:
    """As os.statvfs tells it, of a disk with few files left."""

    f_files: int = 1_000_000
    f_favail: int = 5
    f_bavail: int = 10**9
    f_frsize: int = 4096
