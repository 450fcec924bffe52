"""What runs the daemon: the unit, its user, its port, its configuration."""

import errno
import http.client
import ipaddress
import os
import socket
from pathlib import Path

from edge.config import Config, Origins
from edge.doctor.check import Finding, failed, warning
from edge.doctor.machine import UNIT, Machine, Unit, User, user_numbered
from edge.http import parse_listen

_LONGEST_ANSWER_S = 3.0
_MOST_BYTES = 4096


def configuration(origins: Origins, unit: Unit, user: User, machine: Machine) -> Finding:
    """Which settings are looked at here, and whether the service has the same. user: whoever runs the daemon."""
    if origins.file is not None and os.geteuid() == 0 and not machine.may(user, origins.file, "r"):
        return failed(f"user {user.name} may not read {origins.file}, so the daemon does not start; "
                      f"run: chmod 644 {origins.file}")  # fmt: skip
    given = {"--config": str(origins.file or "none"), "--state": origins.config.state}
    for option, here in given.items():
        there = unit.after(option)
        if there is not None and Path(there) != Path(here):
            return warning(
                f"{UNIT} runs with {option} {there}, here it is {here}; run: edge-cxr doctor {option} {there}"
            )
    by_origin = [f"{count} by {name}" for name in ("option", "environment", "file")
                 if (count := list(origins.origin.values()).count(name))]  # fmt: skip
    return Finding(f"file {origins.file or 'none'}; settings: {', '.join(by_origin) or 'all are the defaults'}")


def user_of(config: Config, unit: Unit, machine: Machine) -> User:
    """Whoever runs the daemon: by the unit, else the owner of the state folder, else whoever asks."""
    named = machine.user_named(unit["User"]) if unit["User"] else None
    if named is not None:
        return named
    state = Path(config.state)
    return user_numbered(state.stat().st_uid if state.is_dir() else os.geteuid())


def service_user(unit: Unit, user: User) -> Finding:
    if unit["User"] and unit["User"] != user.name:
        return failed(f"user {unit['User']} of {UNIT} does not exist; run: systemd-sysusers")
    if user.uid == 0:
        return warning("root runs the daemon, or would, and it never needs to; give it a user of its own")
    return Finding(f"{user.name} ({user.uid})")


def service(unit: Unit) -> Finding:
    if not unit.properties:
        return Finding("systemd does not run here, or does not answer")
    if not unit.installed:
        return Finding(f"{UNIT} is not installed; see systemd/README.md")
    active = unit["ActiveState"]
    said = f": {unit['StatusText']}" if unit["StatusText"] else ""
    if active == "failed":
        return failed(f"{UNIT} has failed ({unit['Result']}); look at journalctl -u edge-cxr, then: "
                      "systemctl restart edge-cxr")  # fmt: skip
    if unit["NeedDaemonReload"] == "yes":
        return warning(f"{UNIT} was changed and systemd has not read it; run: systemctl daemon-reload")
    if active not in ("active", "reloading"):
        return warning(f"{UNIT} is {active} ({unit['SubState']}){said}; run: systemctl start edge-cxr")
    if not unit["UnitFileState"].startswith("enabled"):
        return warning(f"{UNIT} does not start with the machine; run: systemctl enable edge-cxr")
    restarts = unit["NRestarts"]
    if restarts not in ("", "0"):
        return warning(f"{UNIT} was restarted {restarts} times; look at journalctl -u edge-cxr{said}")
    return Finding(f"{UNIT} is {active}{said}")


def port(config: Config) -> Finding:
    """Free, or held by a daemon that says that it is ready. Binding without listening keeps no other from it."""
    if not config.listen:
        return warning('listen is empty: no alert can be raised; set listen = "127.0.0.1:8080"')
    host, number = parse_listen(config.listen)
    hindrance = _hindrance(host, number)
    if hindrance is None:
        return _beyond_this_machine(host) or Finding(f"{config.listen} is free: no daemon runs with it")
    if hindrance.errno != errno.EADDRINUSE:
        return failed(f"nobody can listen on {config.listen} ({hindrance.strerror}); choose another listen")
    status, line = _asked(host, number)
    if status is None:
        return failed(f"{config.listen} is held by another program ({line}); find it with: ss -ltnp, or choose "
                      "another listen")  # fmt: skip
    if status != http.client.OK:
        return failed(f"the daemon at {config.listen} is not ready: {line}")
    return _beyond_this_machine(host) or Finding(f"the daemon at {config.listen} says: {line}")


def _hindrance(host: str, number: int) -> OSError | None:
    """Why nobody can listen there now."""
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the daemon does
            probe.bind(address)
    except OSError as fault:
        return fault
    return None


def _asked(host: str, number: int) -> tuple[int | None, str]:
    """What /readyz answers: the status, None where it is not ours, and a line."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        if b"edge_cxr_build_info" not in _got(host, number, "/metrics", most_bytes=1_000_000)[1]:
            return None, "it does not answer as edge-cxr does"
        status, body = _got(host, number, "/readyz")
    except (OSError, http.client.HTTPException) as fault:
        return None, f"it does not answer: {type(fault).__name__}"
    return status, body.decode(errors="replace").strip()


def _got(host: str, number: int, path: str, *, most_bytes: int = _MOST_BYTES) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, number, timeout=_LONGEST_ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(most_bytes)
    finally:
        connection.close()


def _beyond_this_machine(host: str) -> Finding | None:
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if local:
        return None
    return warning(f"listen is {host}, which other machines reach, and nobody has to log in; set 127.0.0.1, and put "
                   "a proxy with TLS and a login before it")  # fmt: skip
