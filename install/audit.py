"""`make audit`: asks pip-audit about every locked package. Exit 1 for a known vulnerability, never for want of network.

pip-audit passes over what its database does not know, and calls that success: here it is counted and told.
"""

import json
import subprocess
import sys
from pathlib import Path

_LOCK = Path(__file__).parent / "requirements.lock"
_COMMAND = ("-m", "pip_audit", "--requirement", str(_LOCK), "--require-hashes", "--disable-pip", "--format", "json")


def main() -> None:
    told, exit_code = judged(*_asked())
    print(told)
    sys.exit(exit_code)


def judged(answer: str, complaint: str) -> tuple[str, int]:
    """What to tell of pip-audit's answer, and the exit code."""
    try:
        packages = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
        return f"audit: nothing was looked up; run it where the database can be reached. pip-audit: {last[:300]}", 0
    known = [package for package in packages if "vulns" in package]
    found = [f"{package['name']} {package['version']}: {one['id']}" for package in known for one in package["vulns"]]
    told = f"audit: {len(known)} of {len(packages)} locked packages are in the database"
    if not known:
        return f"{told}: nothing was looked up; run it where the database can be reached", 0
    if found:
        return "\n".join([f"{told}; known vulnerabilities:", *found, "take fixed versions: make lock"]), 1
    return f"{told}, without a known vulnerability", 0


def _asked() -> tuple[str, str]:
    ended = subprocess.run([sys.executable, *_COMMAND], capture_output=True, text=True, check=False)
    return ended.stdout, ended.stderr


if __name__ == "__main__":
    main()
