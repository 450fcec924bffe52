"""A wheelhouse of two tiny wheels, in the place of the real one's 200 MB: an edge-cxr that knows two commands, and a
package that it needs."""

import base64
import ensurepip
import hashlib
import shutil
import zipfile
from pathlib import Path
from platform import machine

import pytest

from install.wheelhouse import TOOLS, WHEELS, About, seal, this_python

ROOT = Path(__file__).parent.parent
PROGRAM = """
import sys
import small

def main():
    if sys.argv[1] == "--version":
        print("edge-cxr, version {version}")
    elif "wrong" in open(sys.argv[3]).read():
        sys.exit("edge-cxr: unknown key 'wrong'")

if __name__ == "__main__":
    main()
"""
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: {licence}\n{more}"


def small_wheelhouse(folder: Path, version: str = "1.0", *, program: str = PROGRAM) -> Path:
    """program: source of edge/cli.py, with {version} in it."""
    for name in (WHEELS, TOOLS):
        (folder / name).mkdir(parents=True)
    source = program.replace("{version}", version)
    entry = "[console_scripts]\nedge-cxr = edge.cli:main\n"
    files = {"edge/__init__.py": "", "edge/cli.py": source, f"edge_cxr-{version}.dist-info/entry_points.txt": entry}
    write_wheel(folder / WHEELS, "edge_cxr", version, files, more="Requires-Dist: small>=1\n")
    write_wheel(folder / WHEELS, "small", "1.5", {"small.py": ""}, licence="MIT")
    shutil.copy(_pip(), folder / TOOLS)
    for part in ("systemd", "install"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    seal(folder, About(version, this_python(), machine()))
    return folder


def write_wheel(
    folder: Path, name: str, version: str, files: dict[str, str], *, licence: str = "Apache-2.0", more: str = ""
) -> None:
    about = f"{name}-{version}.dist-info"
    told = METADATA.format(name=name.replace("_", "-"), version=version, licence=licence, more=more)
    files = {
        **files,
        f"{about}/METADATA": told,
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listed = [f"{path},sha256={_sum(text)},{len(text)}\n" for path, text in files.items()]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{about}/RECORD": "".join([*listed, f"{about}/RECORD,,\n"])}.items():
            wheel.writestr(zipfile.ZipInfo(path), text)  # of 1980, so that the same files make the same wheel


def _sum(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _pip() -> Path:
    """The one that Python brings along."""
    for folder in (Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels")):
        for path in folder.glob("pip-*.whl"):
            return path
    pytest.skip("this Python brings no pip along: install python3-venv")
