"""The unit, its user and its port, as systemd and the socket tell."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machines import SERVICE, machine, unit

from edge.config import Config, resolve
from edge.doctor import service
from edge.doctor.check import Outcome
from edge.doctor.machine import Unit, User
from edge.http import Health, open_server
from edge.metrics import Metrics


@pytest.mark.parametrize(
    ("changed", "outcome", "told"),
    [
        ({}, "passed", "is active: scores with research"),
        ({"ActiveState": "failed", "Result": "exit-code"}, "failed", "(exit-code); look at journalctl -u edge-cxr"),
        ({"ActiveState": "inactive", "SubState": "dead"}, "warning", "is inactive (dead)"),
        ({"ActiveState": "activating", "SubState": "start"}, "warning", "is activating (start): scores with"),
        ({"UnitFileState": "disabled"}, "warning", "systemctl enable"),
        ({"NeedDaemonReload": "yes"}, "warning", "daemon-reload"),
        ({"NRestarts": "3"}, "warning", "restarted 3 times"),
        ({"LoadState": "not-found"}, "passed", "is not installed"),
    ],
)
def test_what_systemd_says_of_the_unit(changed: dict[str, str], outcome: str, told: str) -> None:
    found = service.service(unit(**changed))
    assert found.outcome == outcome
    assert told in found.text


def test_without_systemd_nothing_is_wrong() -> None:
    assert service.service(Unit()).outcome == Outcome.PASSED
    assert Unit().incoming is None


def test_the_unit_names_the_folder_and_the_settings() -> None:
    assert unit().incoming == Path("/srv/edge-cxr/incoming")
    assert unit().after("--state") == "/var/lib/edge-cxr"
    assert unit().after("--state-of") is None
    assert unit(ExecStart="{ path=/a ; argv[]=/a watch ; ignore_errors=no }").incoming is None


def test_other_settings_than_the_services_are_told(tmp_path: Path) -> None:
    file, here = tmp_path / "edge-cxr.toml", machine(tmp_path)
    file.write_text('after = "archive"\n')
    own = resolve({}, {"EDGE_CXR_SCAN_S": "3"}, file)
    assert (
        service.configuration(own, Unit(), SERVICE, here).text == f"file {file}; settings: 1 by environment, 1 by file"
    )
    found = service.configuration(own, unit(), SERVICE, here)
    assert found.outcome == Outcome.WARNING
    assert "run: edge-cxr doctor --config /etc/edge-cxr/edge-cxr.toml" in found.text
    started = f"{{ path=/a ; argv[]=/a watch /in --config {file} --state /var/lib/edge-cxr ; ignore_errors=no }}"
    assert (
        "--state /var/lib/edge-cxr, here it is"
        in service.configuration(own, unit(ExecStart=started), SERVICE, here).text
    )
    same = resolve({"state": "/var/lib/edge-cxr/"}, {}, file)
    assert service.configuration(same, unit(ExecStart=started), SERVICE, here).outcome == Outcome.PASSED


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone is told what others may do")
def test_settings_that_the_services_user_may_not_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "edge-cxr.toml").write_text("")
    own, hidden = resolve({}, {}, tmp_path / "edge-cxr.toml"), replace(machine(tmp_path), may=lambda *_: False)
    found = service.configuration(own, Unit(), SERVICE, hidden)
    assert found.outcome == Outcome.FAILED
    assert "user edge-cxr may not read" in found.text
    assert service.configuration(resolve({}, {}, None), Unit(), SERVICE, hidden).outcome == Outcome.PASSED


def test_who_runs_the_daemon(tmp_path: Path) -> None:
    here, config = machine(tmp_path), Config(state=str(tmp_path))
    assert service.user_of(config, unit(), here) == SERVICE
    owner = service.user_of(config, Unit(), here)
    assert owner.uid == tmp_path.stat().st_uid
    assert service.user_of(config, unit(User="nobody-here"), here) == owner
    assert service.service_user(unit(), SERVICE).outcome == Outcome.PASSED
    missing = service.service_user(unit(User="nobody-here"), owner)
    assert (missing.outcome, "systemd-sysusers" in missing.text) == (Outcome.FAILED, True)
    assert service.service_user(Unit(), User(0, 0, (), "root")).outcome == Outcome.WARNING


@contextlib.contextmanager
def daemon(told: Health, *, exposition: bytes | None = None) -> Iterator[str]:
    text = Metrics().exposition() if exposition is None else exposition
    with open_server("127.0.0.1:0", lambda: text, lambda: told) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_the_port_is_held_by_our_daemon() -> None:
    with daemon(Health(alive=True, ready_reason=None)) as listen:
        found = service.port(Config(listen=listen))
    assert (found.outcome, found.text) == (Outcome.PASSED, f"the daemon at {listen} says: ready")
    with daemon(Health(alive=True, ready_reason="the disk is full")) as listen:
        found = service.port(Config(listen=listen))
    assert (found.outcome, found.text) == (Outcome.FAILED, f"the daemon at {listen} is not ready: the disk is full")


def test_the_port_is_held_by_another_program() -> None:
    with daemon(Health(alive=True, ready_reason=None), exposition=b"other_metric 1\n") as listen:
        found = service.port(Config(listen=listen))
    assert (found.outcome, "held by another program" in found.text) == (Outcome.FAILED, True)
    with socket.create_server(("127.0.0.1", 0)) as talker:
        thread = threading.Thread(target=hang_up, args=(talker,))
        thread.start()
        found = service.port(Config(listen=f"127.0.0.1:{talker.getsockname()[1]}"))
        thread.join()
    assert (found.outcome, "does not answer" in found.text) == (Outcome.FAILED, True)


def hang_up(talker: socket.socket) -> None:
    caller, _ = talker.accept()
    with caller:
        caller.recv(1000)
        caller.sendall(b"220 mail.example SMTP\r\n")


def test_the_port_is_free_and_stays_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
    assert "is free" in service.port(Config(listen=f"127.0.0.1:{number}")).text
    socket.create_server(("127.0.0.1", number)).close()
    assert service.port(Config(listen="")).outcome == Outcome.WARNING
    beyond = service.port(Config(listen=f"0.0.0.0:{number}"))
    assert (beyond.outcome, "nobody has to log in" in beyond.text) == (Outcome.WARNING, True)
    elsewhere = service.port(Config(listen="192.0.2.1:8080"))  # of no machine: RFC 5737
    assert (elsewhere.outcome, "nobody can listen on" in elsewhere.text) == (Outcome.FAILED, True)
