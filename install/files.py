"""What lies outside of /opt/edge-cxr: units, users, folders, the command's link, and the configuration once."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from install.layout import UNITS, Layout
from install.versions import share_of

_RESTART_SINCE = 254  # systemd that knows RestartSteps; older ones warn of it
_GPU = tuple(f"{UNITS}/{unit}.d/gpu.conf" for unit in ("edge-cxr.service", "edge-cxr-build.service"))
_ELSEWHERE = {
    "edge-cxr.sysusers": "usr/local/lib/sysusers.d/edge-cxr.conf",
    "edge-cxr.tmpfiles": "usr/local/lib/tmpfiles.d/edge-cxr.conf",
}


@dataclass(frozen=True)
class Machine:
    """What of the units depends on the machine. gpu: None leaves it as it was."""

    systemd: int | None
    gpu: bool | None = None


def lay_down(layout: Layout, version: Path, machine: Machine) -> None:
    """Put a version's files in place, and remove those of the version before that it no longer has."""
    source = share_of(version) / "systemd"
    placed = {name: source / path for name, path in _places(source, layout, machine).items()}
    had = laid_down(layout)
    _list(layout, {*had, *placed})  # first, so that uninstalling knows all of them wherever this is cut short
    for name, path in placed.items():
        _copy(path, layout.path_of(name))
    _link_command(layout)
    for name in set(had) - set(placed):
        _remove(layout, name)
    _list(layout, set(placed))
    if not layout.configuration.exists():
        _copy(share_of(version) / "edge-cxr.toml", layout.configuration)


def take_away(layout: Layout) -> None:
    for name in laid_down(layout):
        _remove(layout, name)
    if layout.command.is_symlink():
        layout.command.unlink()


def purge(layout: Layout) -> None:
    """Configuration and state: every result, archived radiograph and the ledger. Not incoming files or backups."""
    for folder in (layout.configuration.parent, layout.state):
        if folder.exists():
            shutil.rmtree(folder)


def units(layout: Layout) -> list[str]:
    """Services and timers that are laid down; `edge-cxr.service` first."""
    names = [Path(name).name for name in laid_down(layout) if name.startswith(UNITS)]
    return sorted(name for name in names if name.endswith((".service", ".timer")))


def _places(source: Path, layout: Layout, machine: Machine) -> dict[str, str]:
    """Where each file goes, and where it comes from, both relative."""
    placed = {f"{UNITS}/{path.name}": path.name for path in source.glob("*.service")}
    placed |= {f"{UNITS}/{path.name}": path.name for path in source.glob("*.timer")}
    for path in source.glob("*.d/*.conf"):
        placed[f"{UNITS}/{path.relative_to(source)}"] = str(path.relative_to(source))
    placed |= {to: name for name, to in _ELSEWHERE.items() if (source / name).exists()}
    if (machine.systemd or 0) >= _RESTART_SINCE:
        placed[f"{UNITS}/edge-cxr.service.d/restart.conf"] = "drop-ins/restart.conf"
    had_gpu = _GPU[0] in laid_down(layout)
    if machine.gpu or (machine.gpu is None and had_gpu):
        placed |= dict.fromkeys(_GPU, "drop-ins/gpu.conf")
    return {to: name for to, name in placed.items() if (source / name).exists()}


def laid_down(layout: Layout) -> list[str]:
    """Files that uninstalling removes, named as on the box without the first slash."""
    try:
        return list(json.loads(layout.laid_down.read_text()))
    except (OSError, ValueError):
        return []


def _list(layout: Layout, names: set[str]) -> None:
    fresh = layout.laid_down.with_name(f".{layout.laid_down.name}.fresh")
    fresh.write_text(json.dumps(sorted(names), indent=1) + "\n")
    fresh.replace(layout.laid_down)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    fresh = to.with_name(f".{to.name}.fresh")
    shutil.copyfile(path, fresh)
    fresh.chmod(0o644)
    fresh.replace(to)


def _link_command(layout: Layout) -> None:
    """`edge-cxr` on everybody's path. A file of that name which is no link is somebody else's."""
    if layout.command.is_symlink():
        layout.command.unlink()
    if not layout.command.exists():
        layout.command.parent.mkdir(parents=True, exist_ok=True)
        layout.command.symlink_to(layout.on_box(layout.current) / "bin/edge-cxr")


def _remove(layout: Layout, name: str) -> None:
    path = layout.path_of(name)
    path.unlink(missing_ok=True)
    folder = path.parent
    if folder.name.endswith(".d") and folder.parent.name == "system" and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
