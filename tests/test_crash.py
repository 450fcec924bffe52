"""The daemon as a process: killed, stopped, out of disk. Nothing is lost, nothing comes twice, nothing is half."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest
from tiny_bundle import write_tiny_bundle

from edge.phantom import render
from edge.phantom_dicom import write_dicom

PATIENCE_S = 90
FILES = 24


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    for seed in range(FILES):
        write_dicom(render(seed, ("covid", "other")[seed % 2], longest_side=192), folder / f"{seed:02}.dcm")
    return folder


def command(incoming: Path, state: Path, bundle: Path, *more: str) -> list[str]:
    watch = [sys.executable, "-m", "edge.cli", "watch", str(incoming), "--state", str(state), "--bundle", str(bundle)]
    return [*watch, *more]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def visible(state: Path) -> list[Path]:
    return sorted(state.glob("results/*/*.json"))


def wait_for_results(daemon: subprocess.Popen[str], state: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(visible(state)) < count and daemon.poll() is None:
        for path in visible(state):
            json.loads(path.read_bytes())  # complete the moment it is visible
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def ledger_rows(state: Path) -> list[tuple[str, str]]:
    connection = apsw.Connection(str(state / "ledger.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute("SELECT case_id, status FROM cases").fetchall()
    connection.close()
    return [(str(case), str(status)) for case, status in rows]


@pytest.mark.parametrize("after", ["keep", "archive"])
def test_killed_again_and_again_nothing_is_lost_and_nothing_twice(
    bundle: Path, phantoms: Path, tmp_path: Path, after: str
) -> None:
    incoming, state = shutil.copytree(phantoms, tmp_path / "incoming"), tmp_path / "state"
    for results in (1, 6, 13):
        daemon = start(*command(incoming, state, bundle, "--once", "--after", after))
        wait_for_results(daemon, state, results)
        daemon.kill()
        daemon.communicate()
    last = subprocess.run(
        command(incoming, state, bundle, "--once", "--json", "--after", after),
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0 < len(last.stdout.splitlines()) < FILES  # the kills came before the end, and their work counts
    rows = ledger_rows(state)
    assert len(rows) == FILES
    assert {case for case, _ in rows} == {path.stem for path in visible(state)}
    assert len(visible(state)) == FILES
    assert {status for _, status in rows} == {"scored"}
    for path in visible(state):
        assert json.loads(path.read_bytes())["case_id"] == path.stem
    assert not list(state.glob("results/*/.*")), "a temporary file was left"
    if after == "archive":
        assert list(incoming.iterdir()) == []
        assert len(list((state / "archive").iterdir())) == FILES
    again = subprocess.run(command(incoming, state, bundle, "--once", "--json"), capture_output=True, check=True)
    assert again.stdout == b""


def test_sigterm_finishes_the_radiograph_in_hand_and_exits_cleanly(
    bundle: Path, phantoms: Path, tmp_path: Path
) -> None:
    incoming, state = shutil.copytree(phantoms, tmp_path / "incoming"), tmp_path / "state"
    daemon = start(*command(incoming, state, bundle, "--listen", "127.0.0.1:0"))
    wait_for_results(daemon, state, 2)
    daemon.send_signal(signal.SIGTERM)
    _, errors = daemon.communicate(timeout=PATIENCE_S)
    assert daemon.returncode == 0, errors
    assert 2 <= len(visible(state)) < FILES
    assert {case for case, _ in ledger_rows(state)} == {path.stem for path in visible(state)}


def test_logs_hold_case_ids_and_no_names(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    shutil.copy(phantoms / "00.dcm", incoming / "CANARY_NAME.dcm")
    done = subprocess.run(
        command(incoming, tmp_path / "state", bundle, "--once"), capture_output=True, text=True, check=True
    )
    events = [json.loads(line) for line in done.stderr.splitlines()]
    (radiograph,) = [event for event in events if event["event"] == "radiograph"]
    assert radiograph["case_id"] == visible(tmp_path / "state")[0].stem
    for canary in ("CANARY", "PHANTOM"):
        assert canary not in done.stderr + done.stdout
        assert not any(
            canary.encode() in path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()
        )


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_full_disk_is_one_clear_line_and_loses_nothing(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    """A real small filesystem, filled: the run fails with exit code 1, and goes on once there is space."""
    incoming = shutil.copytree(phantoms, tmp_path / "incoming")
    disk = tmp_path / "disk"
    disk.mkdir()
    state = disk / "state"
    run = " ".join(command(incoming, state, bundle, "--once", "--json"))
    script = (
        f"mount -t tmpfs -o size=80m tmpfs {disk} && "
        f"head -c 76m /dev/zero > {disk}/ballast; {run} > {tmp_path}/first; echo $? > {tmp_path}/code; "
        f"rm {disk}/ballast; {run} > {tmp_path}/second; ls {state}/results/*/ | wc -l > {tmp_path}/count"
    )
    namespace = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "unshare" in namespace.stderr or "mount" in namespace.stderr:
        pytest.skip(f"no namespace to mount in: {namespace.stderr.strip()}")
    assert (tmp_path / "code").read_text().strip() == "1"
    last_line = [line for line in namespace.stderr.splitlines() if line.startswith("edge-cxr:")]
    assert len(last_line) == 1
    assert "is full: 4 MB are free, 4 MB are kept in reserve; free space and start again" in last_line[0]
    assert len((tmp_path / "second").read_text().splitlines()) == FILES
    assert int((tmp_path / "count").read_text()) == FILES


def test_the_state_folder_is_private(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    incoming, state = tmp_path / "incoming", tmp_path / "state"
    incoming.mkdir()
    shutil.copy(phantoms / "00.dcm", incoming)
    subprocess.run(command(incoming, state, bundle, "--once"), capture_output=True, check=True)
    assert state.stat().st_mode & 0o777 == 0o700
    for path in (path for path in state.rglob("*") if path.is_file()):
        assert path.stat().st_mode & 0o077 == 0, path
    assert os.path.getsize(state / "site.key") == 32  # noqa: PTH202
