"""Versions of the program side by side below /opt/edge-cxr: each is a virtual environment that is never changed again.

`venv` leads to the one in use, `previous` to the one before. Both are switched by one rename.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from install.errors import InstallError
from install.layout import Layout
from install.sources import run_quietly
from install.wheelhouse import LOCK, SBOM, TOOLS, WHEELS, digest_of, open_wheelhouse

COMPLETE = "installed.json"  # written last
_DIGITS = 8
_NAME = re.compile(rf".+-[0-9a-f]{{{_DIGITS}}}")
_SHARE = "share/edge-cxr"  # units, bill of materials and first configuration of this very version


def add_version(layout: Layout, wheelhouse: Path) -> Path:
    """Install what a wheelhouse holds beside the others; the same one again is found complete. Returns its folder.

    Raises InstallError.
    """
    about = open_wheelhouse(wheelhouse)
    folder = layout.program / f"{about.version}-{digest_of(wheelhouse)[:_DIGITS]}"
    if (folder / COMPLETE).exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # one that was cut short
    layout.program.mkdir(parents=True, exist_ok=True)
    try:
        _make_environment(folder, wheelhouse)
        _name_as_on_box(layout, folder)
        shutil.copytree(wheelhouse / "systemd", folder / _SHARE / "systemd")
        for name in (LOCK, SBOM, "install/edge-cxr.toml"):
            shutil.copy(wheelhouse / name, folder / _SHARE)
        told = {"version": about.version, "extras": about.extras, "python": about.python}
        os.sync()  # after a power cut the mark stands only where all before it does
        (folder / COMPLETE).write_text(json.dumps(told) + "\n")
        os.sync()
    except BaseException:  # on a full disk the daemon would take nothing because of it
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def share_of(version: Path) -> Path:
    return version / _SHARE


def check_version(layout: Layout, version: Path) -> None:
    """Raises InstallError when it does not start, or does not understand this box's configuration."""
    program: list[str | Path] = [version / "bin/python", "-I", "-m", "edge.cli"]
    run_quietly([*program, "--version"], f"{version.name} does not start; {_in_use(layout)} stays in use")
    if layout.configuration.exists():
        what = f"{version.name} does not accept {layout.configuration}; mend it and install again"
        run_quietly([*program, "config", "check", layout.configuration], what)


def in_use(layout: Layout) -> Path | None:
    return _followed(layout.current)


def former(layout: Layout) -> Path | None:
    return _followed(layout.previous)


def use(layout: Layout, version: Path) -> None:
    """The one in use becomes the previous one. Cut short between the two, `previous` leads to the one in use."""
    before = in_use(layout)
    if before == version:
        return
    if before is not None:
        _link(layout.previous, before.name)
    _link(layout.current, version.name)


def give_back(layout: Layout, version: Path, earlier: Path | None) -> None:
    """A switch to another did not succeed: `version` is in use again, and `earlier` the one before it."""
    use(layout, version)
    if earlier in (None, version):
        layout.previous.unlink(missing_ok=True)
    else:
        _link(layout.previous, earlier.name)


def prune(layout: Layout) -> None:
    """Remove all versions but the one in use and the one before. Whatever else lies beside them is somebody else's."""
    kept = {in_use(layout), former(layout)}
    for folder in _all(layout):
        if folder not in kept:
            shutil.rmtree(folder)


def remove_all(layout: Layout) -> None:
    """The links last: until then an uninstallation that was cut short is seen."""
    for folder in _all(layout):
        shutil.rmtree(folder)
    for link in (layout.previous, layout.current):
        link.unlink(missing_ok=True)


def _all(layout: Layout) -> list[Path]:
    """Also those that were cut short."""
    folders = (path for path in layout.program.iterdir() if path.is_dir() and not path.is_symlink())
    return [folder for folder in folders if _NAME.fullmatch(folder.name)]


def _make_environment(folder: Path, wheelhouse: Path) -> None:
    """Without pip: a version is never changed. The wheelhouse's own is run from its file."""
    making: list[str | Path] = [sys.executable, "-m", "venv", "--without-pip", folder]
    run_quietly(making, "no virtual environment can be made")
    found = sorted((wheelhouse / TOOLS).glob("pip-*.whl"))
    if not found:
        raise InstallError(f"{wheelhouse / TOOLS} holds no pip; copy the whole wheelhouse again")
    pip: list[str | Path] = [folder / "bin/python", "-I", found[0] / "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-compile", "--require-hashes"]
    pip += ["--no-index", "--find-links", wheelhouse / WHEELS, "--no-deps"]
    what = "the wheelhouse is damaged, or for another machine; copy it again"
    run_quietly([*pip, "--requirement", wheelhouse / LOCK], what, PIP_CONFIG_FILE=os.devnull)


def _name_as_on_box(layout: Layout, folder: Path) -> None:
    """Scripts begin with their interpreter's path, and compiled modules hold theirs: without DESTDIR in front."""
    real = layout.on_box(folder)
    for script in (path for path in (folder / "bin").iterdir() if path.is_file() and not path.is_symlink()):
        script.write_bytes(script.read_bytes().replace(os.fsencode(folder), os.fsencode(real)))
    compiling: list[str | Path] = [folder / "bin/python", "-I", "-m", "compileall", "-q", "-j", "0"]
    compiling += ["-s", folder, "-p", real, folder / "lib"]
    subprocess.run(compiling, capture_output=True, check=False)  # some packages carry templates that are no Python


def _followed(link: Path) -> Path | None:
    if not link.is_symlink() or not link.exists():
        return None
    return link.parent / link.readlink().name


def _in_use(layout: Layout) -> str:
    version = in_use(layout)
    return "nothing" if version is None else version.name


def _link(link: Path, target: str) -> None:
    fresh = link.with_name(f".{link.name}.fresh")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
    descriptor = os.open(link.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
