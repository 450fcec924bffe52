"""`edge-cxr config`: what the settings are, where each comes from, and whether a file would be taken."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge.cli import main
from edge.config import NEEDS_RESTART


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "edge-cxr.toml").write_text('after = "archive"\n')
    return tmp_path / "edge-cxr.toml"


def test_show_tells_where_each_value_comes_from(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CXR_SCAN_S", "3")
    told = json.loads(call("config", "show", "--config", file, "--json").stdout)
    assert told["after"] == {"value": "archive", "from": "file", "source": str(file), "counts": "reload"}
    assert told["scan_s"] == {"value": 3.0, "from": "environment", "source": "EDGE_CXR_SCAN_S", "counts": "reload"}
    assert told["bundle"] == {"value": "research", "from": "default", "source": None, "counts": "reload"}
    assert {key for key, setting in told.items() if setting["counts"] == "restart"} == set(NEEDS_RESTART)


def test_show_tells_people_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CXR_SCAN_S", "3")
    lines = call("config", "show", "--config", file).stdout.splitlines()
    words = {line.split()[1]: line for line in lines if line.count("│") > 3}
    assert all(word in words["after"] for word in ("archive", "file", "a reload on"))
    assert "EDGE_CXR_SCAN_S" in words["scan_s"]
    assert "a restart on" in words["state"]
    assert lines[-1] == f"file: {file}"
    assert call("config", "show").stdout.splitlines()[-1] == "file: none is read"


def test_the_file_of_the_environment_is_read_by_every_command(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("affter = 3\n")
    monkeypatch.setenv("EDGE_CXR_CONFIG", str(file))
    for command in (
        ("watch", "."), ("infer", "a.dcm"), ("similar", "a.dcm"), ("find", "a.dcm"), ("doctor",), ("bench",),
        ("config", "show"), ("config", "check"), ("audit", "verify"), ("index", "verify"), ("retain",), ("build",),
        ("bundle", "verify", "research"), ("backup", "folder"), ("forget", "0" * 16),
    ):  # fmt: skip
        refused = call(*command)
        assert (refused.exit_code, "did you mean after?" in refused.stderr) == (2, True), (command, refused.output)


def test_check_accepts_a_good_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = call("config", "check", file)
    assert (good.exit_code, good.stdout) == (0, f"{file}: every key is known and every value fits\n")
    assert json.loads(call("config", "check", file, "--json").stdout) == {"file": str(file), "valid": True}
    monkeypatch.setenv("EDGE_CXR_CONFIG", str(file))
    assert call("config", "check").stdout == good.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('affter = "archive"', "did you mean after?"),
        ('after = "burn"', "it must be one of keep, archive, delete"),
        ('listen = "8080"', "it must be HOST:PORT"),
        ("[edge-cxr]", "unknown key 'edge-cxr'"),
    ],
)
def test_check_refuses_what_a_start_would_refuse(
    file: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says in its place here: the service has another."""
    monkeypatch.setenv("EDGE_CXR_AFTER", "keep")
    file.write_text(text)
    refused = call("config", "check", file)
    assert refused.exit_code == 2
    assert message in refused.stderr


def test_check_has_to_know_which_file() -> None:
    refused = call("config", "check")
    assert refused.exit_code == 2
    assert "name one: edge-cxr config check FILE" in refused.stderr
