"""`python3 -m install`: wheelhouse, install, rollback, uninstall. `make` calls it; a wheelhouse carries it along."""

import argparse
import sys
from pathlib import Path

from install import files, steps
from install.errors import InstallError
from install.layout import Layout
from install.services import Services
from install.wheelhouse import make_wheelhouse

_HERE = Path(__file__).resolve().parent.parent


def main() -> None:
    options = _parser().parse_args()
    try:
        print(options.run(options))
    except InstallError as fault:
        sys.exit(f"install: {fault}")
    except OSError as fault:
        sys.exit(f"install: {fault.strerror}: {fault.filename}; check its permissions and the disk")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m install", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    wheelhouse = commands.add_parser("wheelhouse", help="gather all that a box without network needs")
    wheelhouse.add_argument("folder", type=Path)
    wheelhouse.add_argument("--extra", action="append", default=[], help="as tensorrt-rtx; repeatable")
    wheelhouse.set_defaults(run=_wheelhouse)
    install = commands.add_parser("install", help="install or upgrade")
    install.add_argument("--wheelhouse", type=Path, default=_HERE, help="default: the one that this lies in")
    install.add_argument("--gpu", type=int, choices=(0, 1), help="let the service use the GPU; default: as it was")
    install.add_argument("--start", action="store_true", help="start it, now and at each start of the machine")
    install.set_defaults(run=_install)
    rollback = commands.add_parser("rollback", help="back to the version before")
    rollback.set_defaults(run=_roll_back)
    uninstall = commands.add_parser("uninstall", help="remove the program; configuration and state stay")
    uninstall.add_argument("--purge", action="store_true", help="remove configuration, results, archive and ledger too")
    uninstall.set_defaults(run=_uninstall)
    for command in (install, rollback, uninstall):
        command.add_argument("--root", type=Path, default=Path("/"), help="another folder in place of /  (DESTDIR)")
    return parser


def _wheelhouse(options: argparse.Namespace) -> str:
    about = make_wheelhouse(_HERE, options.folder, extras=tuple(options.extra))
    size_bytes = sum(path.stat().st_size for path in options.folder.rglob("*") if path.is_file())
    told = f"edge-cxr {about.version} for Python {about.python} on {about.machine}, {size_bytes:,} bytes"
    box = f"cd {options.folder.name} && sudo /usr/bin/python3 -m install install"
    return f"{options.folder}: {told}\nOn the box: {box}"


def _install(options: argparse.Namespace) -> str:
    layout = _layout(options)
    gpu = None if options.gpu is None else bool(options.gpu)
    version = steps.install(layout, options.wheelhouse, gpu=gpu, start=options.start)
    if not layout.here or options.start or Services(layout).is_running():
        return f"{version.name} is in use"
    started = " ".join(unit for unit in files.units(layout) if unit == "edge-cxr.service" or unit.endswith(".timer"))
    return (
        f"{version.name} is in use. Look at {layout.configuration}, then\n"
        f"  sudo -u edge-cxr edge-cxr doctor --config {layout.configuration} --incoming /srv/edge-cxr/incoming\n"
        f"  systemctl enable --now {started}"
    )


def _roll_back(options: argparse.Namespace) -> str:
    return f"{steps.roll_back(_layout(options)).name} is in use again"


def _uninstall(options: argparse.Namespace) -> str:
    layout = _layout(options)
    steps.uninstall(layout, purge=options.purge)
    return "removed" if options.purge else f"removed; {layout.configuration} and {layout.state} are left"


def _layout(options: argparse.Namespace) -> Layout:
    return Layout(options.root.resolve())


if __name__ == "__main__":
    main()
