"""`make lock`: the newest versions that pyproject.toml allows, with the digests of all their builds, by uv."""

import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_UV = (
    sys.executable,
    "-m",
    "uv",
    "pip",
    "compile",
    "--quiet",
    "--no-header",
    "--generate-hashes",
    "--python-version",
    "3.11",
)
_LEFT_OUT = "openvino-telemetry"
_BOX = f"""\
# What a box installs, with the digests of every build of it. Made by: make lock
# Without {_LEFT_OUT}, which reports each import of openvino to its vendor; openvino works without it.
"""
_TOOLS = "# What installs the packages of a wheelhouse: a box needs none of its own. Made by: make lock\n"


def main() -> None:
    box = _compiled("pyproject.toml", "--universal", "--no-emit-package", _LEFT_OUT)
    (_HERE / "requirements.lock").write_text(_BOX + box.split("\n# The following packages")[0].rstrip() + "\n")
    (_HERE / "tools.lock").write_text(_TOOLS + _compiled("-", "--no-annotate", asked="pip"))


def _compiled(what: str, *options: str, asked: str = "") -> str:
    command = [*_UV, *options, what]
    return subprocess.run(command, cwd=_HERE.parent, input=asked, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
