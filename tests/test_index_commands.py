"""`edge-cxr index` on a state folder with a real ledger: verify tells and changes nothing, rebuild mends."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from reports import gated, scored, sha
from tiny_bundle import write_tiny_bundle

from edge.bundle import read_bundle
from edge.cli import main
from edge.index_file import path_of
from edge.outputs.report_json import encode
from edge.state import open_state
from edge.store import Ledger

CASES = 5


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def record(state: Path, bundle: Path, first: int, count: int) -> None:
    folder = open_state(state)
    with Ledger(folder.ledger, site_key=folder.site_key) as ledger:
        for number in range(first, first + count):
            reports = [replace(some, bundle_id=read_bundle(bundle).id) for some in (scored(number), gated(number + 99))]
            for report in (*reports, scored(number)):  # the last is another bundle's
                ledger.record(report, encode(report), None)


@pytest.fixture
def state(bundle: Path, tmp_path: Path) -> Path:
    record(tmp_path / "state", bundle, 0, CASES)
    return tmp_path / "state"


def call(command: str, state: Path, bundle: Path, *more: str) -> Result:
    arguments = ["index", command, "--state", str(state), "--bundle", str(bundle), *more]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_rebuild_then_verify(state: Path, bundle: Path) -> None:
    bundle_id = read_bundle(bundle).id
    path = path_of(state / "index", bundle_id)
    built = call("rebuild", state, bundle, "--json")
    assert (built.exit_code, built.stderr) == (0, "")
    assert json.loads(built.stdout) == {
        "file": path.name,
        "bundle_id": bundle_id,
        "cases": CASES,
        "bytes": path.stat().st_size,
    }
    verified = call("verify", state, bundle, "--json")
    told = json.loads(verified.stdout)
    assert (verified.exit_code, verified.stderr) == (0, "")
    assert (told["agrees"], told["digest_ok"], told["faults"], told["found"]) == (True, True, [], CASES)
    table = call("verify", state, bundle)
    assert table.exit_code == 0
    assert f"{path.name}: digest ok" in table.stdout
    assert f"{path.name}: {CASES} cases" in call("rebuild", state, bundle).stdout


def test_verify_tells_what_is_wrong_and_rebuild_mends_it(state: Path, bundle: Path) -> None:
    call("rebuild", state, bundle)
    folder = open_state(state)
    with Ledger(folder.ledger, site_key=folder.site_key) as ledger, ledger._transaction() as connection:
        connection.execute("DELETE FROM cases WHERE sha256 = ?", (sha(1),))
        connection.execute("INSERT INTO forgotten VALUES ('key', 1.0)")
    wrong = call("verify", state, bundle, "--json")
    assert wrong.exit_code == 1
    assert json.loads(wrong.stdout)["agrees"] is False
    assert "a case was forgotten since it was saved. Run edge-cxr index rebuild" in wrong.stderr
    assert call("rebuild", state, bundle).exit_code == 0
    right = json.loads(call("verify", state, bundle, "--json").stdout)
    assert (right["agrees"], right["cases"], right["gone"]) == (True, CASES - 1, 0)


@pytest.mark.parametrize("command", ["verify", "rebuild"])
def test_without_a_ledger_nothing_is_made(command: str, bundle: Path, tmp_path: Path) -> None:
    told = call(command, tmp_path / "nothing", bundle)
    assert told.exit_code == 2
    assert "holds no ledger; check --state" in told.stderr
    assert not (tmp_path / "nothing").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nothing_is_built_in_another_users_state_folder(state: Path, bundle: Path) -> None:
    """Its daemon could neither lock nor replace the file of root."""
    os.chown(state / "ledger.sqlite", 1, 1)
    told = call("rebuild", state, bundle)
    assert told.exit_code == 2
    assert "belongs to user 1, this is user 0" in told.stderr
    assert not (state / "index").exists()


def test_verify_without_a_file_or_with_a_damaged_one_fails(state: Path, bundle: Path) -> None:
    told = call("verify", state, bundle)
    assert (told.exit_code, told.stderr.count("\n")) == (1, 1)
    assert "there is no index" in told.stderr
    call("rebuild", state, bundle)
    path = path_of(state / "index", read_bundle(bundle).id)
    path.write_bytes(path.read_bytes()[:-5])
    told = call("verify", state, bundle)
    assert told.exit_code == 1
    assert "is damaged" in told.stderr
    assert call("rebuild", state, bundle).exit_code == 0
    assert call("verify", state, bundle).exit_code == 0
