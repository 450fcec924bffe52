"""The installer on a machine with a running systemd: what it starts, and what happens when a new version does not."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from scratch_machine import ScratchMachine
from small_wheelhouse import PROGRAM, small_wheelhouse

from install.wheelhouse import this_python

DAEMON = "edge-cxr.service"
BOX_PYTHON = "/usr/bin/python3"
# In the place of the daemon: it says that it is ready, and waits.
WATCHES = PROGRAM.replace(
    '    elif "wrong"',
    """    elif sys.argv[1] == "watch":
        import os, signal, socket
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.sendto(b"READY=1\\nSTATUS={version}", os.environ["NOTIFY_SOCKET"])
        signal.pause()
    elif "wrong\"""",
)
NEVER_READY = PROGRAM.replace(
    '    elif "wrong"', '    elif sys.argv[1] == "watch":\n        sys.exit(1)\n    elif "wrong"'
)
OUT_OF_SERVICE = WATCHES.replace("READY=1\\nSTATUS={version}", "STATUS=out of service: wrong")
KILLED_AT_THE_RESTART = (
    "import os, runpy; from install.services import Services; Services.restart = lambda _: os._exit(9)"
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScratchMachine]:
    asked = [BOX_PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    if not Path(BOX_PYTHON).exists() or subprocess.check_output(asked, text=True).strip() != this_python():
        pytest.skip(f"{BOX_PYTHON} is not the Python {this_python()} that the wheelhouse is for")
    with ScratchMachine(tmp_path_factory.mktemp("machine")) as booted:
        yield booted


def install(machine: ScratchMachine, wheelhouse: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """As on the box: by the installer that a wheelhouse carries, from a folder that anybody may read."""
    machine.run("rm", "-rf", "/opt/wheelhouse")
    shutil.copytree(wheelhouse, machine.inside("/opt/wheelhouse"))
    return machine.run("env", "-C", "/opt/wheelhouse", BOX_PYTHON, "-m", "install", *words, check=False)


def test_from_a_bare_machine_to_a_running_box_and_back(machine: ScratchMachine, tmp_path: Path) -> None:
    first = small_wheelhouse(tmp_path / "first", "1.0", program=WATCHES)
    told = install(machine, first, "install", "--start")
    assert (told.returncode, told.stdout.startswith("1.0-")) == (0, True), told.stderr
    assert machine.property(DAEMON, "StatusText") == "1.0"
    assert machine.run("systemctl", "is-enabled", DAEMON, "edge-cxr-backup.timer").stdout == "enabled\nenabled\n"
    assert machine.run("stat", "-c", "%U %a", "/var/lib/edge-cxr").stdout == "edge-cxr 700\n"

    broken = small_wheelhouse(tmp_path / "broken", "1.1", program=NEVER_READY)
    told = install(machine, broken, "install")
    assert told.returncode == 1
    assert "does not start with 1.1" in told.stderr and "is back in use and runs" in told.stderr
    assert machine.property(DAEMON, "StatusText") == "1.0"

    wrong = small_wheelhouse(tmp_path / "wrong", "1.1.1", program=OUT_OF_SERVICE)
    told = install(machine, wrong, "install")  # long before systemd's patience with a start is over
    assert told.returncode == 1
    assert "does not start with 1.1.1" in told.stderr and "is back in use and runs" in told.stderr

    newer = small_wheelhouse(tmp_path / "newer", "1.2", program=WATCHES)
    killed = f"{KILLED_AT_THE_RESTART}; runpy.run_module('install', run_name='__main__')"
    machine.run("rm", "-rf", "/opt/wheelhouse")
    shutil.copytree(newer, machine.inside("/opt/wheelhouse"))
    told = machine.run("env", "-C", "/opt/wheelhouse", BOX_PYTHON, "-c", killed, "install", check=False)
    assert (told.returncode, machine.property(DAEMON, "StatusText")) == (9, "1.0"), told.stderr
    assert install(machine, newer, "install").returncode == 0
    assert machine.property(DAEMON, "StatusText") == "1.2"
    running = machine.property(DAEMON, "MainPID")
    assert install(machine, newer, "install").returncode == 0
    assert machine.property(DAEMON, "MainPID") == running  # nothing new, nothing interrupted
    assert install(machine, newer, "install", "--gpu", "1").returncode == 0
    assert machine.property(DAEMON, "MainPID") != running
    assert machine.property(DAEMON, "PrivateDevices") == "no"
    assert install(machine, newer, "rollback").returncode == 0
    assert machine.property(DAEMON, "StatusText") == "1.0"

    stays = "/etc/systemd/system/edge-cxr.service.d/stays.conf"
    machine.write(stays, "[Unit]\nRefuseManualStop=yes\n")
    machine.run("systemctl", "daemon-reload")
    told = install(machine, newer, "uninstall", "--purge")
    assert (told.returncode, "does not stop" in told.stderr) == (1, True), told.stderr
    assert machine.property(DAEMON, "StatusText") == "1.0"
    machine.run("rm", stays)
    machine.run("systemctl", "daemon-reload")
    assert install(machine, newer, "uninstall").returncode == 0
    assert [machine.property(DAEMON, name) for name in ("LoadState", "MainPID")] == ["not-found", "0"]
    assert not [path for path in machine.inside("/etc/systemd/system").rglob("*") if path.is_symlink()]
    left = machine.run("sh", "-c", "ls /opt /usr/local/bin/edge-cxr /etc/edge-cxr /var/lib/edge-cxr; true")
    assert "edge-cxr.toml" in left.stdout
    assert "cannot access '/usr/local/bin/edge-cxr'" in left.stderr
