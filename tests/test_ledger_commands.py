"""What an operator does at the command line, on a box that really scores: results before and after, exit codes."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from kept_cases import tree
from tiny_bundle import write_tiny_bundle

from edge.audit import operator
from edge.cli import main
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.values import Reason


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def scored_box(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """A box that has scored two radiographs, refused one, and kept all inputs."""
    box = tmp_path_factory.mktemp("box")
    (box / "incoming").mkdir()
    for seed in (1, 2):
        write_dicom(render(seed, "covid", longest_side=192), box / "incoming" / f"{seed}.dcm")
    (box / "incoming" / "note.txt").write_text("not a radiograph")
    watch(box, bundle)
    return box


@pytest.fixture
def box(scored_box: Path, tmp_path: Path) -> Path:
    """Its own copy, of which files have other inodes than the ledger knows."""
    shutil.copytree(scored_box, tmp_path / "box")
    return tmp_path / "box"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def told(*arguments: object) -> Any:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def watch(box: Path, bundle: Path, *more: object) -> list[str]:
    """One run of the daemon; the case ids that it judged."""
    result = call("watch", box / "incoming", "--state", box / "state", "--bundle", bundle, "--once", "--json", *more)
    assert result.exit_code == 0, result.output
    return sorted(json.loads(line)["case_id"] for line in result.stdout.splitlines())


def case_ids(box: Path) -> list[str]:
    return sorted({path.stem for path in (box / "state").glob("results/*/*.json")})


def assert_one_line(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("edge-cxr: ")
    for word in words:
        assert word in line


def test_requeued_cases_are_judged_again(box: Path, bundle: Path) -> None:
    first, second, third = case_ids(box)
    assert watch(box, bundle) == []
    assert told("requeue", first, "--state", box / "state") == {"cases": 1, "moved": 0, "awaited": 1}
    assert watch(box, bundle) == [first]
    assert watch(box, bundle) == []
    refused = told("requeue", "--reason", "unreadable", "--state", box / "state")
    assert refused == {"cases": 1, "moved": 0, "awaited": 1}
    (unread,) = watch(box, bundle)
    assert unread in (first, second, third)
    (folder,) = (box / "state" / "results").iterdir()
    everything = told("requeue", "--bundle-id", folder.name, "--state", box / "state")
    assert everything["cases"] == 3
    assert watch(box, bundle) == [first, second, third]
    assert "2 case(s) will be judged again" in call("requeue", first, second, "--state", box / "state").stdout


def test_a_forgotten_case_is_gone_and_not_judged_again(box: Path, bundle: Path) -> None:
    first, *others = case_ids(box)
    assert watch(box, bundle) == []  # the copies are known from now on
    assert_one_line(
        call("forget", first, "--state", box / "state"), 2, "1 case(s) would be removed", "--yes", "PatientID: "
    )
    (gone,) = told("forget", first, "--yes", "--state", box / "state")
    assert (gone["case_id"], gone["files"]) == (first, 1)
    assert case_ids(box) == others
    assert watch(box, bundle) == []
    assert case_ids(box) == others
    again = call("forget", first, "--yes", "--state", box / "state")
    assert (again.exit_code, again.stdout) == (
        0,
        f"{first} is forgotten: 0 file(s), and its name in 0 other report(s)\n",
    )
    assert_one_line(call("forget", "0" * 16, "--yes", "--state", box / "state"), 2, "0" * 16, "nothing was removed")


def test_a_restored_box_has_the_same_results_and_judges_nothing_again(box: Path, bundle: Path) -> None:
    made = told("backup", box / "backup", "--state", box / "state")
    assert made["reports"] == 3
    assert told("restore", box / "backup", "--state", box / "new")["results"] == 3
    assert tree(box / "new" / "results") == tree(box / "state" / "results")
    (box / "state").rename(box / "old")
    (box / "new").rename(box / "state")
    assert watch(box, bundle) == []
    assert_one_line(call("restore", box / "backup", "--state", box / "state"), 2, "has a ledger already", "--state")


def test_retention_goes_by_the_configuration(box: Path) -> None:
    config = box / "edge-cxr.toml"
    config.write_text("results_max_bytes = 1\nkeep_archive_days = 1.5\n")
    options = ("--config", config, "--state", box / "state")
    assert told("retain", "--dry-run", *options) == [
        {"folder": folder, "cases": 0, "size_bytes": 0, "held_back": 0} for folder in ("results", "archive")
    ]  # all of it is younger than an hour
    assert call("retain", *options).stdout.splitlines()[0] == "results: 0 case(s), 0 bytes removed"
    unlimited = call("retain", "--state", box / "state")
    assert (unlimited.exit_code, unlimited.stdout) == (0, "")
    assert "no limit is configured" in unlimited.stderr
    config.write_text("keep_archive_days = -1\n")
    assert_one_line(call("retain", *options), 2, "keep_archive_days", "must be greater")
    config.write_text("keep_archive_days = nan\n")
    assert_one_line(call("retain", *options), 2, "keep_archive_days", "a number of days")


def test_what_retention_removed_is_in_the_audit_log(box: Path) -> None:
    config = box / "edge-cxr.toml"
    config.write_text("keep_results_days = 1e-7\n")
    options = ("--config", config, "--state", box / "state")
    for _ in range(2):  # at the second time nothing is left to go
        assert call("retain", "--dry-run", *options).exit_code == call("retain", *options).exit_code == 0
    (entry,) = call("audit", "show", "--event", "retained", "--state", box / "state", "--json").stdout.splitlines()
    assert json.loads(entry)["detail"] == {"by": operator(), "cases": {"results": 3}}
    assert call("audit", "verify", "--state", box / "state").exit_code == 0


@pytest.mark.parametrize(
    "command", [("requeue", "0" * 16), ("forget", "0" * 16, "--yes"), ("retain",), ("backup", "somewhere")]
)
def test_a_folder_without_a_ledger_is_named_and_not_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert_one_line(call(*command, "--state", tmp_path / "none"), 2, "holds no ledger", "--state")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "commands"),
    [("operations.md", {"requeue", "forget", "retain", "backup", "restore", "find"}), ("audit.md", {"audit"})],
)
def test_a_page_names_only_commands_and_options_that_exist(name: str, commands: set[str]) -> None:
    page = (Path(__file__).parent.parent / "docs" / name).read_text(encoding="utf-8")
    lines = [line.split()[1:] for line in page.splitlines() if line.startswith("edge-cxr ")]
    assert {words[0] for words in lines} >= commands
    for words in lines:
        command: click.Command = main
        context = click.Context(main)
        while isinstance(command, click.Group):
            found = command.get_command(context, words.pop(0))
            assert found is not None
            command = found
        command.make_context(command.name, words)  # raises where an option or argument does not fit


def test_the_operators_page_names_every_part_of_the_state_folder(box: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    for path in (box / "state").iterdir():
        assert f"| `{path.name.removesuffix('-wal').removesuffix('-shm')}" in page, path.name


def test_the_operators_page_has_something_for_every_reason() -> None:
    page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    first_cells = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    for reason in Reason:
        assert f"`{reason}`" in first_cells


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("command", [("requeue", "0" * 16), ("retain",), ("backup", "somewhere")])
def test_another_users_state_folder_is_left_alone(box: Path, command: tuple[str, ...]) -> None:
    """Files of root in it would stop a daemon that is not root."""
    os.chown(box / "state" / "ledger.sqlite", 1, 1)
    result = call(*command, "--state", box / "state")
    assert_one_line(result, 2, "belongs to user 1, this is user 0", "sudo -u")
