"""The units by themselves: systemd understands them, they are as closed as we say, and name what there is."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from unit_files import FOLDER, SERVICES, TIMERS, setting, settings

from edge.cli import main
from install.layout import UNITS

DAEMON = "edge-cxr.service"
PROGRAM = "/opt/edge-cxr/venv/bin/edge-cxr"
ANALYZE = shutil.which("systemd-analyze")
analyzed = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed: make tools")
# What `systemd-analyze security` finds open, and why it stays so.
ONE_SHOT = {
    "RootDirectory=/RootImage=",  # the program, its interpreter and their libraries lie all over /usr and /opt
    "RestrictAddressFamilies=~AF_UNIX",
    "DeviceAllow=",  # ProtectClock= itself lets the clock be read
}
COMPILES = {"MemoryDenyWriteExecute=", "ProcSubset="}  # OpenVINO, TensorRT: machine code made for this CPU
OPEN = {
    DAEMON: ONE_SHOT
    | COMPILES
    | {
        "SystemCallFilter=~@resources",  # sched_setaffinity and setpriority of them
        "RestrictAddressFamilies=~AF_(INET|INET6)",  # metrics and health, on this machine alone
        "PrivateNetwork=",
        "IPAddressDeny=",
    },
    "edge-cxr-build.service": ONE_SHOT | COMPILES | {"SystemCallFilter=~@resources"},
}
EXPOSURE = {DAEMON: 1.1, "edge-cxr-build.service": 0.5}
ONE_SHOT_EXPOSURE = 0.2
# What it does not look at, or not by itself.
UNSEEN = {
    "KeyringMode": "private",
    "DevicePolicy": "closed",
    "IPAddressDeny": "any",
    "SystemCallErrorNumber": "EPERM",
    "AmbientCapabilities": "",
    "LimitCORE": "0",
    "MemorySwapMax": "0",
}


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A copy whose program is there: `verify` asks for it."""
    shutil.copytree(FOLDER, tmp_path / "units")
    for path in (tmp_path / "units").glob("*.service"):
        path.write_text(path.read_text().replace(PROGRAM, "/bin/true"))
    return tmp_path / "units"


def analyze(*words: str | Path) -> str:
    ended = subprocess.run([str(ANALYZE), *map(str, words)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@analyzed
def test_systemd_has_nothing_to_say_of_them(units: Path) -> None:
    assert analyze("verify", *(units / name for name in (*SERVICES, *TIMERS))) == ""


@analyzed
def test_nor_of_those_for_a_gpu(units: Path) -> None:
    for unit in (DAEMON, "edge-cxr-build.service"):
        (units / f"{unit}.d").mkdir(exist_ok=True)
        shutil.copy(FOLDER / "drop-ins/gpu.conf", units / f"{unit}.d")
    assert analyze("verify", units / DAEMON, units / "edge-cxr-build.service") == ""
    analyze("security", "--offline=true", "--threshold=13", units / DAEMON)
    analyze("security", "--offline=true", "--threshold=7", units / "edge-cxr-build.service")


@analyzed
@pytest.mark.parametrize("unit", SERVICES)
def test_each_is_as_closed_as_it_can_be(unit: str) -> None:
    threshold = EXPOSURE.get(unit, ONE_SHOT_EXPOSURE)
    analyze("security", "--offline=true", f"--threshold={threshold * 10:.0f}", FOLDER / unit)
    checks = json.loads(analyze("security", "--offline=true", "--json=short", FOLDER / unit))
    assert {check["name"] for check in checks if check["exposure"] is not None} <= OPEN.get(unit, ONE_SHOT)


@pytest.mark.parametrize("unit", SERVICES)
def test_what_the_score_does_not_see(unit: str) -> None:
    assert {key: setting(unit, key) for key in UNSEEN} == UNSEEN
    assert (setting(unit, "User"), setting(unit, "NoNewPrivileges")) == ("edge-cxr", "yes")


def test_the_daemon_says_when_it_is_ready_and_that_it_lives() -> None:
    told = {key: setting(DAEMON, key) for key in ("Type", "NotifyAccess", "WatchdogSec", "Restart", "OOMPolicy")}
    assert told == dict(
        Type="notify", NotifyAccess="main", WatchdogSec="120", Restart="on-failure", OOMPolicy="continue"
    )
    assert setting(DAEMON, "Environment") == "EDGE_CXR_SANDBOX=required"  # whatever the configuration says
    assert setting(DAEMON, "RestartPreventExitStatus") == "2"
    assert setting(DAEMON, "ExecReload") == "/bin/kill -HUP $MAINPID"


@pytest.mark.parametrize("unit", SERVICES)
def test_each_runs_a_command_that_there_is(unit: str) -> None:
    (line,) = settings(unit, "ExecStart")
    program, *words = shlex.split(line.replace("${BACKUP_FOLDER}", "/var/backups/edge-cxr"))
    assert program == PROGRAM
    command: click.Command = main
    with click.Context(main) as context:
        while isinstance(command, click.Group):
            found = command.get_command(context, words.pop(0))
            assert found is not None, line
            command = found
        command.make_context(unit, words)  # raises for an option that it does not have


@pytest.mark.parametrize("unit", SERVICES)
def test_each_writes_only_where_its_command_does(unit: str) -> None:
    writable = {
        DAEMON: ["/srv/edge-cxr/incoming"],
        "edge-cxr-backup.service": ["-/var/backups/edge-cxr"],
    }
    assert settings(unit, "ReadWritePaths") == writable.get(unit, [])
    assert setting(unit, "StateDirectory") == "edge-cxr"


@analyzed
@pytest.mark.parametrize("timer", TIMERS)
def test_each_timer_has_its_service_and_a_time(timer: str) -> None:
    assert timer.replace(".timer", ".service") in SERVICES
    assert setting(timer, "Persistent") == "yes"  # a box that was off makes up for it
    assert "Next elapse" in analyze("calendar", setting(timer, "OnCalendar"))


def test_users_and_folders_are_made(tmp_path: Path) -> None:
    for tool in ("systemd-sysusers", "systemd-tmpfiles"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: make tools")
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", FOLDER / "edge-cxr.sysusers"], check=True)
    users, groups = ((tmp_path / "etc" / name).read_text().splitlines() for name in ("passwd", "group"))
    assert users[0].endswith(":/nonexistent:/usr/sbin/nologin")  # no library finds a home in the state folder
    assert sorted(line.split(":")[0] + line[line.rindex(":") :] for line in groups) == [
        "edge-cxr-incoming:edge-cxr",
        "edge-cxr:",
    ]
    if os.geteuid() != 0:
        pytest.skip("only root makes folders of other users")
    subprocess.run(["systemd-tmpfiles", f"--root={tmp_path}", "--create", FOLDER / "edge-cxr.tmpfiles"], check=True)
    folders = ("etc/edge-cxr", "var/lib/edge-cxr", "srv/edge-cxr/incoming", "var/backups/edge-cxr")
    assert [(tmp_path / name).stat().st_mode & 0o7777 for name in folders] == [0o755, 0o700, 0o2770, 0o700]


def test_the_installer_puts_units_where_systemd_looks() -> None:
    assert UNITS == "usr/local/lib/systemd/system"
