"""A wheelhouse: one folder that holds all that a box without network needs, this installer included.

wheels/, requirements.lock (name, version and SHA-256 of each), pip in tools/, about.json, sbom.cdx.json, systemd/,
install/.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from platform import machine

from install.errors import InstallError
from install.sbom import write_sbom
from install.sources import build_wheel, run_quietly
from install.wheels import Wheel, read_wheel

LOCK, ABOUT, SBOM = "requirements.lock", "about.json", "sbom.cdx.json"
WHEELS, TOOLS = "wheels", "tools"
OURS = "edge-cxr"
_PARTS = ("systemd", "install")


@dataclass(frozen=True)
class About:
    """What a wheelhouse fits: wheels are compiled for one minor version of Python and one kind of processor.

    digest: as of digest_of; filled in when it is sealed.
    """

    version: str
    python: str
    machine: str
    extras: tuple[str, ...] = ()
    digest: str = ""


def this_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def make_wheelhouse(checkout: Path, folder: Path, *, extras: tuple[str, ...] = ()) -> About:
    """Download the locked packages, build our own, and write the folder; an earlier one there is replaced.

    extras: as tensorrt-rtx; what they bring is not locked, but built or downloaded as it is today. Raises InstallError.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / ABOUT).exists():
        raise InstallError(f"{folder} holds other files than a wheelhouse; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wheelhouse-") as temporary:
        scratch, fresh = Path(temporary) / "scratch", Path(temporary) / "fresh"
        scratch.mkdir()
        for part in (WHEELS, TOOLS):
            (fresh / part).mkdir(parents=True)
        python = _tools(scratch)
        _download(python, checkout / "install" / LOCK, fresh / WHEELS)
        _download(python, checkout / "install/tools.lock", fresh / TOOLS)
        ours = build_wheel(checkout, python, scratch, fresh / WHEELS)
        if extras:
            _add_extras(python, ours, extras, fresh / WHEELS)
        about = About(read_wheel(ours).version, this_python(), machine(), extras)
        for part in _PARTS:
            shutil.copytree(checkout / part, fresh / part, ignore=shutil.ignore_patterns("__pycache__"))
        seal(fresh, about)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    return about


def seal(folder: Path, about: About) -> None:
    """Write what is told of the wheels; about.json last, so that it means complete."""
    wheels = [read_wheel(path) for path in sorted((folder / WHEELS).glob("*.whl"))]
    (folder / LOCK).write_text(
        "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels)
    )
    write_sbom(folder / SBOM, wheels)
    (folder / ABOUT).write_text(json.dumps(asdict(replace(about, digest=digest_of(folder))), indent=1) + "\n")


def open_wheelhouse(folder: Path) -> About:
    """Raises InstallError when it is none, incomplete, or not for this Python and processor."""
    try:
        told = json.loads((folder / ABOUT).read_text())
        about = About(**{**told, "extras": tuple(told.get("extras", ()))})
    except (OSError, ValueError, TypeError):
        raise InstallError(f"{folder} is no complete wheelhouse; make one: make wheelhouse") from None
    if (about.python, about.machine) != (this_python(), machine()):
        raise InstallError(
            f"the wheelhouse is for Python {about.python} on {about.machine}, this is Python {this_python()} on "
            f"{machine()}; make one on a machine like this"
        )
    if about.digest != digest_of(folder):
        raise InstallError(f"{folder} is not as it was made: its lock or a unit is missing or changed; copy it again")
    return about


def digest_of(folder: Path) -> str:
    """Of all that an installation takes from it: the lock, which holds the wheels' digests, and the units."""
    lock = [path for path in (folder / LOCK,) if path.exists()]
    parts = [*lock, *sorted(path for path in (folder / "systemd").rglob("*") if path.is_file())]
    total = hashlib.sha256()
    for path in parts:
        total.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _tools(scratch: Path) -> Path:
    """A pip of our own: a machine with venv may have none beside it."""
    run_quietly(
        [sys.executable, "-m", "venv", scratch / "tools"], "no virtual environment can be made; install python3-venv"
    )
    return scratch / "tools/bin/python"


def _download(python: Path, lock: Path, out: Path) -> None:
    command: list[str | Path] = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", out, "--requirement", lock]
    run_quietly(
        command, "the locked packages cannot be downloaded; check the network, or use a wheelhouse made elsewhere"
    )


def _add_extras(python: Path, ours: Path, extras: tuple[str, ...], out: Path) -> None:
    """What is locked stays at its version."""
    pins = out.parent / "pins.txt"
    wheels: list[Wheel] = [read_wheel(path) for path in out.glob("*.whl") if path != ours]
    pins.write_text("".join(f"{wheel.name}=={wheel.version}\n" for wheel in wheels))
    asked = f"{OURS}[{','.join(extras)}] @ {ours.resolve().as_uri()}"
    command: list[str | Path] = [python, "-m", "pip", "wheel", "--quiet", "--wheel-dir", out, "--find-links", out]
    run_quietly([*command, "--constraint", pins, asked], f"the extras {', '.join(extras)} cannot be built")
    pins.unlink()
    for path in out.glob("openvino_telemetry-*"):  # left out of the lock on purpose
        path.unlink()
