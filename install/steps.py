"""Install, roll back, uninstall: each the same however often it is done, and safe to be cut short anywhere."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from install import files, versions
from install.errors import InstallError
from install.layout import Layout
from install.services import DAEMON, Services, systemd_version

_LOG = "see: journalctl -u edge-cxr"
_HIDDEN = ("/root", "/home", "/tmp", "/var/tmp")  # from the service, by its unit


def install(layout: Layout, wheelhouse: Path, *, gpu: bool | None = None, start: bool = False) -> Path:
    """Returns the version that is in use. Raises InstallError; the version before then stays or is back in use."""
    _check_python(layout)
    with _alone(layout):
        version = versions.add_version(layout, wheelhouse)
        versions.check_version(layout, version)
        services = Services(layout)
        _switch(layout, version, services, gpu=gpu)
        versions.prune(layout)
        if start:
            services.enable(files.units(layout))
    return version


def roll_back(layout: Layout) -> Path:
    """To the version before, with its units; again, and it is undone. Raises InstallError when there is none."""
    with _alone(layout):
        version = versions.former(layout)
        if version is None or version == versions.in_use(layout):
            raise InstallError(f"there is no version before the one in {layout.current}; install one")
        versions.check_version(layout, version)
        _switch(layout, version, Services(layout), gpu=None)
    return version


def uninstall(layout: Layout, *, purge: bool = False) -> None:
    """Stop it and remove the program and its units; with `purge` configuration and state too."""
    with _alone(layout):
        services = Services(layout)
        services.disable(files.units(layout))
        files.take_away(layout)
        services.reload()
        if purge:
            files.purge(layout)
        versions.remove_all(layout)
        for mark in (layout.restart_due, layout.laid_down):
            mark.unlink(missing_ok=True)
        if not any(layout.program.iterdir()):
            layout.program.rmdir()


def _switch(layout: Layout, version: Path, services: Services, *, gpu: bool | None) -> None:
    """The daemon that runs is restarted when something is new, or when the restart of an earlier switch is due."""
    before, earlier, had = versions.in_use(layout), versions.former(layout), files.laid_down(layout)
    runs, due = services.is_running(), layout.restart_due
    was_due = due.exists()
    if runs and not was_due:
        due.write_text(before.name if before else "")
    _put_in_place(layout, version, services, gpu=gpu)
    is_new = was_due or (before, had) != (version, files.laid_down(layout))
    if runs and is_new and not services.restart():
        _give_back(layout, version, earlier, services)
    due.unlink(missing_ok=True)


def _give_back(layout: Layout, version: Path, earlier: Path | None, services: Services) -> NoReturn:
    """Raises InstallError when the version that ran before is back in use, or there is none."""
    told, before = f"{DAEMON} does not start with {version.name}", layout.program / layout.restart_due.read_text()
    if before in (layout.program, version) or not (before / versions.COMPLETE).exists():
        raise InstallError(f"{told}; {_LOG}")
    files.lay_down(layout, before, files.Machine(systemd_version()))
    versions.give_back(layout, before, earlier)
    services.prepare()
    back = "is back in use and runs" if services.restart() else "is back in use and does not start either"
    layout.restart_due.unlink()
    raise InstallError(f"{told}; {before.name} {back}; {_LOG}")


def _put_in_place(layout: Layout, version: Path, services: Services, *, gpu: bool | None) -> None:
    files.lay_down(layout, version, files.Machine(systemd_version(), gpu))
    versions.use(layout, version)
    services.prepare()


def _check_python(layout: Layout) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this runs on a box as it was found
        raise InstallError(f"this is Python {sys.version.split()[0]}; edge-cxr needs 3.11 or newer")
    if layout.here and sys.base_prefix.startswith(_HIDDEN):
        raise InstallError(f"this Python lies in {sys.base_prefix}, which the service cannot see; use /usr/bin/python3")


@contextlib.contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """One installation at a time. Whoever's umask it is, the service's user must be able to read the program."""
    os.umask(0o022)
    try:
        layout.program.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(layout.program, os.O_RDONLY)
    except PermissionError:
        raise InstallError(f"{layout.program} cannot be written; run it as root, as with sudo") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InstallError(f"another installation into {layout.program} is running; wait for it") from None
    finally:
        os.close(descriptor)
