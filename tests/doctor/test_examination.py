"""All checks together: their order, the outcome of each, and that nothing is changed by looking."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from machines import machine, unit

from edge import tables
from edge.cli import main
from edge.config import resolve
from edge.doctor.check import Check, Outcome
from edge.doctor.examination import examine
from edge.state import open_state
from edge.store import Ledger

DOCS = Path(__file__).parents[2] / "docs"
ALWAYS = [
    "configuration", "CPU", "clock", "service", "service user", "port", "state folder", "permissions", "disk",
    "ledger library", "ledger",
]  # fmt: skip
OF_INCOMING = ["incoming folder", "inotify"]
OF_BUNDLE = ["bundle", "site calibration", "earlier cases", "decode worker", "GPU", "known answers"]


def looks(root: Path) -> dict[str, tuple[int, ...]]:
    """Of every file that keeps its bytes: SQLite's shared memory is there to be written by readers too."""
    found = {path: path.lstat() for path in (root, *root.rglob("*")) if not path.name.endswith("-shm")}
    return {str(path): (seen.st_mode, seen.st_uid, seen.st_size, seen.st_mtime_ns) for path, seen in found.items()}


def test_a_box_in_good_order_beside_its_daemon(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir(mode=0o770)
    state = open_state(tmp_path / "state")
    options = {"state": str(state.root), "bundle": str(bundle_folder), "reserve_bytes": 0, "listen": "127.0.0.1:0"}
    with Ledger(state.ledger, site_key=state.site_key):
        before = looks(tmp_path)
        checks = examine(resolve(options, {}, None), tmp_path / "incoming", machine=machine(tmp_path / "machine"))
        after = looks(tmp_path)
    assert {path: look for path, look in after.items() if "/machine" not in path and path != str(tmp_path)} == {
        path: look for path, look in before.items() if path != str(tmp_path)
    }
    assert [check.name for check in checks] == [*ALWAYS, *OF_INCOMING, *OF_BUNDLE]
    wrong = {check.name: check for check in checks if check.outcome != Outcome.PASSED}
    assert wrong.keys() <= {"service user", "bundle"}, wrong  # the tests' user may be root
    assert "not signed" in wrong["bundle"].finding
    assert all(len(check.finding.splitlines()) == 1 for check in checks)


def test_without_its_bundle_the_rest_is_looked_at(tmp_path: Path) -> None:
    options = {"state": str(tmp_path / "state"), "bundle": str(tmp_path / "none"), "listen": "127.0.0.1:0"}
    there = replace(machine(tmp_path / "machine"), unit=unit)
    checks = {check.name: check for check in examine(resolve(options, {}, None), machine=there)}
    assert list(checks) == [*ALWAYS, *OF_INCOMING, *OF_BUNDLE]  # the unit names the folder
    assert "/srv/edge-cxr/incoming cannot be read" in checks["incoming folder"].finding
    assert checks["bundle"].outcome == Outcome.FAILED
    assert {checks[name].finding for name in OF_BUNDLE[1:]} == {"not looked at, for want of the bundle"}


def test_the_exit_code_is_by_the_worst(bundle_folder: Path, tmp_path: Path) -> None:
    """A warning is none: this bundle is not signed."""
    asked = ["doctor", "--state", str(tmp_path / "state"), "--json", "--bundle"]
    good = CliRunner().invoke(main, [*asked, str(bundle_folder)], env={"EDGE_CXR_LISTEN": "127.0.0.1:0"})
    told = {check["name"]: check for check in json.loads(good.stdout)}
    assert (good.exit_code, told["bundle"]["outcome"]) == (0, "warning")
    assert told["decode worker"].keys() == {"name", "outcome", "finding"}
    assert not (tmp_path / "state").exists()
    bad = CliRunner().invoke(main, [*asked, str(tmp_path / "none")], env={"EDGE_CXR_LISTEN": "127.0.0.1:0"})
    assert bad.exit_code == 1


def test_every_check_is_documented_in_its_order() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (DOCS / "doctor.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [*ALWAYS, *OF_INCOMING, *OF_BUNDLE]


def test_people_read_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [
        Check("disk", Outcome.PASSED, "40 GB free"),
        Check("clock", Outcome.WARNING, "not synchronised; run an NTP client"),
        Check("port", Outcome.FAILED, "held; choose another listen"),
    ]
    tables.print_checks(checks, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "ok    disk: 40 GB free",
        "warn  clock: not synchronised; run an NTP client",
        "FAIL  port: held; choose another listen",
        "3 checks: 1 passed, 1 warning, 1 failed",
    ]
