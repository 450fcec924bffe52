"""The program under the real system-call filter of its unit; without systemd as process 1, so anybody can run it."""

import ctypes.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle
from unit_files import SERVICES, allowed_calls

from edge.phantom import render
from edge.phantom_dicom import write_dicom

UNDER = Path(__file__).parent.parent / "under_filter.py"
DAEMON = "edge-cxr.service"
pytestmark = [
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: make tools"),
    pytest.mark.skipif(ctypes.util.find_library("seccomp") is None, reason="libseccomp is not installed"),
]


def under(
    unit: str, scratch: Path, *words: str | Path, without: frozenset[str] = frozenset()
) -> subprocess.CompletedProcess[str]:
    """The program with these words, in the unit's filter and environment."""
    calls = scratch / "calls"
    calls.write_text("\n".join(sorted(allowed_calls(unit) - without)))
    command = [sys.executable, UNDER, calls, sys.executable, *words]
    environment = {**os.environ, "EDGE_CXR_SANDBOX": "required"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def incoming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("incoming")
    write_dicom(render(3, "covid", longest_side=384), folder / "chest.dcm", photometric_interpretation="MONOCHROME2")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def watch(incoming: Path, bundle: Path, state: Path) -> list[str | Path]:
    return ["-P", "-m", "edge.cli", "watch", incoming, "--once", "--json", "--state", state, "--bundle", bundle]


def test_the_daemon_scores_with_confined_workers(tmp_path: Path, incoming: Path, bundle: Path) -> None:
    ended = under(DAEMON, tmp_path, *watch(incoming, bundle, tmp_path / "state"))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["status"] == "scored"
    assert "missing" not in ended.stderr  # no layer of a worker's sandbox is


def test_it_refuses_to_start_where_the_filter_keeps_its_workers_from_confining_themselves(
    tmp_path: Path, incoming: Path, bundle: Path
) -> None:
    """Debian 12's @system-service has none of the calls: the unit names them."""
    named = frozenset({"landlock_create_ruleset", "landlock_restrict_self", "seccomp"})
    assert named <= allowed_calls(DAEMON)
    ended = under(DAEMON, tmp_path, *watch(incoming, bundle, tmp_path / "state"), without=named)
    assert (ended.returncode, "landlock" in ended.stderr) == (1, True), ended.stderr


@pytest.mark.parametrize("unit", SERVICES)
def test_nothing_that_rules_the_machine_is_allowed(tmp_path: Path, unit: str) -> None:
    calls = (
        "mount",
        "ptrace",
        "bpf",
        "init_module",
        "reboot",
        "setuid",
        "swapon",
        "clock_settime",
        "chroot",
    )
    assert not allowed_calls(unit) & set(calls)
    trying = "import os\ntry: os.chroot('/')\nexcept PermissionError: print('refused')"
    assert under(unit, tmp_path, "-c", trying).stdout == "refused\n"
