"""The units run by a real systemd, with all that they close: the daemon scores, says so, lives and ends as they say."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scratch_machine import ScratchMachine
from tiny_bundle import write_tiny_bundle

from edge.phantom import render
from edge.phantom_dicom import write_dicom

DAEMON = "edge-cxr.service"
CONFIGURATION = "/etc/edge-cxr/edge-cxr.toml"
INCOMING, STATE = "/srv/edge-cxr/incoming", "/var/lib/edge-cxr"
BUNDLE = "/etc/edge-cxr/tiny"
MORE = "reserve_bytes = 1\ninclude_earlier_cases = true\nkeep_archive_days = 1.0\n"
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScratchMachine]:
    """With the daemon laid down, configured and started; `systemctl start` comes back when it is ready."""
    with ScratchMachine(tmp_path_factory.mktemp("machine")) as booted:
        booted.lay_program_down()
        write_tiny_bundle(booted.inside(BUNDLE))
        booted.write(CONFIGURATION, f'bundle = "{BUNDLE}"\nafter = "archive"\n{MORE}')
        booted.configure("WatchdogSec=5\nRestartSec=100ms\n", "sooner")
        booted.run("systemctl", "start", DAEMON)
        yield booted


def eventually(is_so: Callable[[], object]) -> None:
    limit_s = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < limit_s
        time.sleep(0.1)


def send(machine: ScratchMachine, seed: int, scratch: Path) -> None:
    """As a sender does it: beside, with the group's right to read, then renamed."""
    write_dicom(render(seed, "covid", longest_side=256), scratch / "a", photometric_interpretation="MONOCHROME2")
    shutil.copy(scratch / "a", machine.inside(f"{INCOMING}/.{seed}"))
    machine.run("chmod", "0640", f"{INCOMING}/.{seed}")
    machine.run("mv", f"{INCOMING}/.{seed}", f"{INCOMING}/{seed}.dcm")


def scored(machine: ScratchMachine) -> list[dict[str, object]]:
    found = machine.inside(f"{STATE}/results").glob("*/*.json")
    return [told for told in (json.loads(path.read_text()) for path in found) if told["status"] == "scored"]


def test_it_is_started_when_its_known_answers_are_right(machine: ScratchMachine) -> None:
    assert machine.property(DAEMON, "ActiveState") == "active"
    asked = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/readyz').status)"
    assert machine.run("/opt/edge-cxr/venv/bin/python", "-c", asked).stdout == "200\n"
    assert machine.property(DAEMON, "StatusText")


def test_it_scores_what_a_sender_brings_and_lives_on(machine: ScratchMachine, tmp_path: Path) -> None:
    started = machine.property(DAEMON, "NRestarts")
    send(machine, 1, tmp_path)
    eventually(lambda: scored(machine))
    eventually(lambda: list(machine.inside(f"{STATE}/archive").glob("*.dcm")))
    eventually(lambda: not list(machine.inside(INCOMING).iterdir()))
    assert machine.property(DAEMON, "NRestarts") == started


def test_a_reload_keeps_the_process(machine: ScratchMachine, tmp_path: Path) -> None:
    before, results = machine.property(DAEMON, "MainPID"), len(scored(machine))
    machine.run("systemctl", "reload", DAEMON)
    send(machine, 2, tmp_path)
    eventually(lambda: len(scored(machine)) > results)
    assert machine.property(DAEMON, "MainPID") == before


def test_one_that_hangs_is_ended_and_started_again(machine: ScratchMachine) -> None:
    before = int(machine.property(DAEMON, "NRestarts"))
    machine.run("kill", "-STOP", machine.property(DAEMON, "MainPID"))
    eventually(lambda: int(machine.property(DAEMON, "NRestarts")) > before)
    eventually(lambda: machine.property(DAEMON, "ActiveState") == "active")


def test_it_stops_when_asked_and_leaves_nothing_running(machine: ScratchMachine) -> None:
    machine.run("systemctl", "stop", DAEMON)
    assert machine.property(DAEMON, "Result") == "success"
    assert machine.property(DAEMON, "MainPID") == "0"
    assert machine.run("pgrep", "-f", "edge.imaging.worker", check=False).returncode == 1


@pytest.mark.parametrize("job", ["retain", "backup", "index-verify"])
def test_the_jobs_of_the_timers_succeed(machine: ScratchMachine, job: str) -> None:
    unit = f"edge-cxr-{job}.service"
    machine.run("systemctl", "start", f"edge-cxr-{job}.timer")  # it keeps the service, and how that ended, in memory
    machine.run("systemctl", "start", unit)
    assert (machine.property(unit, "ConditionResult"), machine.property(unit, "Result")) == ("yes", "success")


def test_a_backup_is_where_it_belongs(machine: ScratchMachine) -> None:
    made = [path.name for path in machine.inside("/var/backups/edge-cxr").iterdir()]
    assert {"ledger.sqlite", "site.key"} <= set(made)


def test_a_wrong_configuration_is_no_reason_to_try_again(machine: ScratchMachine) -> None:
    machine.write(CONFIGURATION, 'bundel = "research"\n')
    assert machine.run("systemctl", "start", DAEMON, check=False).returncode != 0
    assert machine.property(DAEMON, "ExecMainStatus") == "2"
    assert machine.property(DAEMON, "ActiveState") == "failed"  # not "activating": nobody starts it again
    assert "did you mean bundle?" in machine.log()
