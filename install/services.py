"""What this machine's systemd is told: users and folders, units, restarts. Silent where systemd does not run."""

import re
import shutil
import subprocess
import time
from pathlib import Path

from install.errors import InstallError
from install.layout import Layout

DAEMON = "edge-cxr.service"
_WRONG_ANSWERS = "out of service"  # its status begins so
_LOOK_EACH_S = 0.2
_ASKED = ("ActiveState", "StatusText", "MainPID")


def systemd_version() -> int | None:
    """None where systemd is not installed."""
    if shutil.which("systemctl") is None:
        return None
    told = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"systemd (\d+)", told)
    return int(found[1]) if found else None


class Services:
    """Of the box itself. Below a DESTDIR, and where systemd is not process 1, it does nothing."""

    def __init__(self, layout: Layout) -> None:
        self._here = layout.here
        self.running = layout.here and Path("/run/systemd/system").is_dir()

    def prepare(self) -> None:
        """Make the user, its groups and the folders."""
        if self._here and shutil.which("systemd-sysusers"):
            _run("systemd-sysusers", "edge-cxr.conf")
            _run("systemd-tmpfiles", "--create", "edge-cxr.conf")
        self.reload()

    def reload(self) -> None:
        if self.running:
            _run("systemctl", "daemon-reload")

    def is_running(self) -> bool:
        """Or is being started, perhaps again and again."""
        return self.running and _shown()["ActiveState"] in ("active", "reloading", "activating")

    def restart(self) -> bool:
        """Returns when the daemon has given its known answers; False when it did not, or gave wrong ones: then it stays
        to say so, and is not started.
        """
        before = _shown()["MainPID"]
        restarting = subprocess.Popen(["systemctl", "restart", DAEMON], stderr=subprocess.DEVNULL)
        while restarting.poll() is None:
            seen = _shown()
            if seen["MainPID"] not in ("0", before) and seen["StatusText"].startswith(_WRONG_ANSWERS):
                restarting.terminate()
                restarting.wait()
                return False
            time.sleep(_LOOK_EACH_S)
        return restarting.returncode == 0

    def enable(self, units: list[str]) -> None:
        """Start them now and at every start of the machine: the daemon and the timers."""
        if self.running:
            started = [unit for unit in units if unit == DAEMON or unit.endswith(".timer")]
            _run("systemctl", "enable", "--now", *started)

    def disable(self, units: list[str]) -> None:
        """Raises InstallError when the daemon runs on: it would lose its program and its state."""
        if self.running and units:
            _runs("systemctl", "disable", "--now", *units)
        if self.is_running():
            raise InstallError(f"{DAEMON} does not stop; stop it, and run this again: nothing was removed")


def _shown() -> dict[str, str]:
    """Of the daemon; each is empty where systemd does not answer."""
    asked = ["systemctl", "show", "--property", ",".join(_ASKED), DAEMON]
    lines = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    return dict.fromkeys(_ASKED, "") | dict(line.split("=", 1) for line in lines if "=" in line)


def _runs(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise InstallError(f"{' '.join(command)} failed: {ended.stderr.strip()}; mend that and run it again")
