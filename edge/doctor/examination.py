"""Every check in its order: the machine, what runs the daemon, the folders, and what needs the bundle last."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge.config import Origins
from edge.doctor import hardware, records, scoring, service, storage
from edge.doctor.check import Check, Finding, Outcome, run, told
from edge.doctor.machine import Machine
from edge.errors import EdgeError
from edge.shelf import open_configured

_HERE = Machine()
_NEED_BUNDLE = ("site calibration", "earlier cases", "decode worker", "GPU", "known answers")
_Checks = dict[str, Callable[[], Finding]]


def examine(origins: Origins, incoming: Path | None = None, *, machine: Machine = _HERE) -> list[Check]:
    """incoming: the folder that is to be watched; None: the service's, where one is installed."""
    checks = _of_machine(origins, incoming, machine)
    return [*(run(name, check) for name, check in checks.items()), *_of_bundle(origins, machine)]


def _of_machine(origins: Origins, incoming: Path | None, machine: Machine) -> _Checks:
    config, unit = origins.config, machine.unit()
    user = service.user_of(config, unit, machine)
    checks: _Checks = {
        "configuration": partial(service.configuration, origins, unit, user, machine),
        "CPU": partial(hardware.cpu, config, machine),
        "clock": partial(hardware.clock, machine),
        "service": partial(service.service, unit),
        "service user": partial(service.service_user, unit, user),
        "port": partial(service.port, config),
        "state folder": partial(storage.state_folder, config),
        "permissions": partial(storage.permissions, config, user, machine),
        "disk": partial(storage.disk, config, machine),
        "ledger library": records.sqlite,
        "ledger": partial(records.ledger, config),
    }
    watched = incoming or unit.incoming
    if watched is not None:
        checks["incoming folder"] = partial(storage.incoming_folder, watched, config, user, machine)
        checks["inotify"] = partial(storage.inotify, watched, config, machine)
    return checks


def _of_bundle(origins: Origins, machine: Machine) -> list[Check]:
    config = origins.config
    try:
        bundle = open_configured(config)
    except (EdgeError, OSError) as fault:
        waits = (Check(name, Outcome.WARNING, "not looked at, for want of the bundle") for name in _NEED_BUNDLE)
        return [Check("bundle", Outcome.FAILED, told(fault)), *waits]
    checks: tuple[Callable[[], Finding], ...] = (
        partial(records.site_calibration, config, bundle),
        partial(records.earlier_cases, config, bundle),
        partial(scoring.decode_worker, config, bundle),
        partial(hardware.gpu, config, bundle, machine),
        partial(scoring.known_answers, config, machine),
    )
    opened = run("bundle", partial(scoring.bundle_opened, bundle))
    return [opened, *(run(name, check) for name, check in zip(_NEED_BUNDLE, checks, strict=True))]
