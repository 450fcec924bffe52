"""A machine for a test: systemd as process 1 of namespaces of its own, with its own /etc, /opt, /srv, /var and network.

Kernel and /usr are this machine's, whatever is written goes with the folder it is given. Needs root.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

SYSTEMD = Path("/lib/systemd/systemd")
REPOSITORY = Path(__file__).parent.parent
LOG = "/var/log/edge-cxr.log"
_OWN = ("/etc", "/opt", "/srv", "/var", "/usr/local", "/root")
_UNITS = "/usr/local/lib/systemd/system"
_BOOT_S = 20.0
_PR_SET_PDEATHSIG = 1
# Nothing of the real machine's starts: only units of /usr/local and /etc's drop-ins are seen, and no generators.
_BOOT = """
set -e
mount --make-rprivate /
for own in {own}; do
    mkdir -p {folder}$own/upper {folder}$own/work
    mount -t overlay overlay -o lowerdir=$own,upperdir={folder}$own/upper,workdir={folder}$own/work $own
done
rm -rf /etc/systemd/system/* /opt/edge-cxr /etc/edge-cxr
mkdir -p {units}
for target in scratch sysinit basic shutdown local-fs time-sync timers multi-user; do
    printf '[Unit]\\nDescription=nothing\\nDefaultDependencies=no\\n' > {units}/$target.target
done
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec {systemd} --system --unit=scratch.target --log-target=console --show-status=0
"""


class ScratchMachine:
    """`with ScratchMachine(folder) as machine`: booted; `run` runs a command there. Skips where it cannot be made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cgroup = _cgroup_root() / f"edge-cxr-scratch-{os.getpid()}-{folder.name}"
        self._shell: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        _require()
        self._cgroup.mkdir()
        script = _BOOT.format(own=" ".join(_OWN), folder=self._folder, units=_UNITS, systemd=SYSTEMD)
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "container": "scratch",
            "SYSTEMD_UNIT_PATH": f"/etc/systemd/system:/run/systemd/system:{_UNITS}",
            "SYSTEMD_GENERATOR_PATH": "/nonexistent",
        }
        namespaces = ("--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup", "--net")
        with (self._folder / "boot.log").open("wb") as log:
            self._shell = subprocess.Popen(
                ["unshare", *namespaces, "bash", "-c", script],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=self._enter_cgroup,  # noqa: PLW1509 - nothing but system calls
            )  # fmt: skip
        limit_s = time.monotonic() + _BOOT_S
        while self.run("systemctl", "is-active", "--quiet", "scratch.target", check=False).returncode:
            if self._shell.poll() is not None or time.monotonic() > limit_s:
                told = (self._folder / "boot.log").read_text(errors="replace")[-500:]
                self.__exit__()
                pytest.skip(f"systemd does not run in namespaces here: {told}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._shell is not None
        init = self._init()
        if init is not None:
            os.kill(init, signal.SIGKILL)  # and with it all that runs there
        self._shell.wait(timeout=10)
        for _ in range(50):
            try:
                for inner in sorted(self._cgroup.rglob("*/"), reverse=True):
                    inner.rmdir()
                self._cgroup.rmdir()
                return
            except OSError:
                time.sleep(0.1)

    def run(self, *command: str | Path, check: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
        """extra: environment variables beside PATH."""
        init = self._init()
        if init is None:
            return subprocess.CompletedProcess(command, 1, "", "it has not booted")
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        words = ["nsenter", "-t", str(init), "-a", "--wd=/", "env", "-i", f"PATH={path}", "LANG=C.UTF-8"]
        words += [f"{key}={value}" for key, value in extra.items()]
        ended = subprocess.run([*words, *map(str, command)], capture_output=True, text=True, check=False, timeout=120)
        assert not check or ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}{self.log()[-2000:]}"
        return ended

    def property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", "--property", name, unit).stdout.strip()

    def write(self, path: str, text: str) -> None:
        self.inside(path).parent.mkdir(parents=True, exist_ok=True)
        self.inside(path).write_text(text)

    def inside(self, path: str) -> Path:
        """A path of that machine, seen from here."""
        return Path(f"/proc/{self._init()}/root{path}")

    def log(self) -> str:
        log = self.inside(LOG)
        return log.read_text(errors="replace") if log.exists() else ""

    def lay_program_down(self) -> None:
        """This checkout as the installed program, with units, user and folders."""
        places = {".sysusers": "sysusers.d/edge-cxr.conf", ".tmpfiles": "tmpfiles.d/edge-cxr.conf"}
        self.run("mkdir", "-p", "/opt/edge-cxr", "/usr/local/lib/sysusers.d", "/usr/local/lib/tmpfiles.d")
        self.run("ln", "-s", sys.prefix, "/opt/edge-cxr/venv")
        for path in (REPOSITORY / "systemd").glob("edge-cxr*.*"):
            self.run("cp", "-r", path, f"/usr/local/lib/{places.get(path.suffix, f'systemd/system/{path.name}')}")
        self.run("systemd-sysusers", "edge-cxr.conf")
        self.run("systemd-tmpfiles", "--create", "edge-cxr.conf")
        self.configure(f"ProtectHome=tmpfs\nBindReadOnlyPaths={_program_folders()}\nStandardError=append:{LOG}\n")

    def configure(self, settings: str, name: str = "scratch") -> None:
        """More settings of every service of ours."""
        for unit in ("edge-cxr.service", "edge-cxr-.service"):
            self.write(f"/etc/systemd/system/{unit}.d/{name}.conf", f"[Service]\n{settings}")
        self.run("systemctl", "daemon-reload")

    def _init(self) -> int | None:
        """Its process 1, as numbered here."""
        assert self._shell is not None
        children = Path(f"/proc/{self._shell.pid}/task/{self._shell.pid}/children")
        try:
            return int(children.read_text())
        except (OSError, ValueError):
            return None

    def _enter_cgroup(self) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # it ends with the tests, however these end
        (self._cgroup / "cgroup.procs").write_text(str(os.getpid()))


def _program_folders() -> str:
    """Interpreter and checkout may lie where the units hide everything: below /root, /home or /tmp."""
    return " ".join(sorted({str(REPOSITORY), sys.prefix, sys.base_prefix} - {"/usr"}))


def _require() -> None:
    missing = [name for name in ("unshare", "nsenter", "systemctl") if shutil.which(name) is None]
    if os.geteuid() != 0 or missing or not SYSTEMD.exists():
        pytest.skip("a scratch machine needs root, systemd (make tools), unshare and nsenter")


def _cgroup_root() -> Path:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if re.search(r" - cgroup2 ", line):
            return Path(line.split()[4])
    pytest.skip("no cgroup2 is mounted here, which systemd needs")
