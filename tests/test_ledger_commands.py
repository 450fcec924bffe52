"""What an operator does at the command line, on a box that really scores: results before and after, exit codes."""

import json
import os
import shlex
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


def entries(box: Path, event: str) -> list[Any]:
    shown = call("audit", "show", "--event", event, "--state", box / "state", "--json")
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_a_note_and_a_label_stay_with_a_case_that_is_judged_again(box: Path, bundle: Path) -> None:
    first, second = (path.stem for path in scored_results(box))
    state = ("--state", box / "state")
    noted = told("link", first, " record 4711, PCR positive ", *state)
    assert noted == {"case_id": first, "note": "noted"}
    labelled = told("label", first, "covid", "--by", "Dr W", "--bundle", bundle, *state)
    assert labelled == {"case_id": first, "label": "covid"}
    told("requeue", first, *state)
    assert watch(box, bundle) == [first]
    near = {near["case_id"]: near for near in similar(box, bundle, second)["neighbours"]}[first]
    assert (near["label"], near["note"]) == ("covid", "record 4711, PCR positive")
    assert similar(box, bundle, first)["note"] == "record 4711, PCR positive"
    (linked,), (said,) = entries(box, "linked"), entries(box, "labelled")
    assert (linked["case"], linked["detail"]) == (first, {"by": operator(), "removed": False})
    assert (said["case"], said["detail"]) == (first, {"by": operator(), "for": "Dr W", "label": "covid"})
    secret = CliRunner().invoke(main, ["link", first, "-", *map(str, state)], input="record 42\n")
    assert (secret.exit_code, similar(box, bundle, first)["note"]) == (0, "record 42")
    told("link", first, "", *state)
    told("label", first, "unknown", "--by", "Dr W", "--bundle", bundle, *state)
    near = {near["case_id"]: near for near in similar(box, bundle, second)["neighbours"]}[first]
    assert (near["label"], near["note"]) == (None, None)
    assert entries(box, "linked")[2]["detail"]["removed"]
    assert call("audit", "verify", *state).exit_code == 0


def scored_results(box: Path) -> list[Path]:
    return [path for path in sorted((box / "state").glob("results/*/*.json")) if '"scored"' in path.read_text()]


def similar(box: Path, bundle: Path, case_id: str) -> Any:
    (box / "edge-cxr.toml").write_text("include_earlier_cases = true\nneighbours = 30\n")
    options = ("--bundle", bundle, "--state", box / "state", "--config", box / "edge-cxr.toml")
    return told("similar", case_id, *options)


def test_a_note_is_nowhere_but_in_the_ledger_and_goes_with_the_case(box: Path) -> None:
    first, *_ = case_ids(box)
    secret = "record 4711 of Nobody"
    told("link", first, secret, "--state", box / "state")
    assert not any(secret.encode() in content for content in tree(box / "state").values())
    told("forget", first, "--yes", "--state", box / "state")
    for path in (box / "state").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("link", "{}", "two\nlines"), ("one line of at most 500",)),
        (("link", "{}", "x" * 501), ("the note has 501 characters",)),
        (("link", "0" * 16, "a note"), ("is not in the ledger", "edge-cxr find")),
        (("link", "nonsense", "a note"), ("is no case id",)),
        (("label", "{}", "flu", "--by", "W", "--bundle", "BUNDLE"), ("'flu' is no label", "covid, other or unknown")),
        (("label", "{}", "covid", "--by", " ", "--bundle", "BUNDLE"), ("--by is empty",)),
        (("label", "0" * 16, "covid", "--by", "W", "--bundle", "BUNDLE"), ("is not in the ledger",)),
    ],
)
def test_what_cannot_be_noted_or_said_is_refused_and_not_repeated(
    box: Path, bundle: Path, command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    first, *_ = case_ids(box)
    given = [word.replace("{}", first).replace("BUNDLE", str(bundle)) for word in command]
    result = call(*given, "--state", box / "state")
    assert_one_line(result, 2, *words)
    assert "two" not in result.stderr
    assert "xxx" not in result.stderr
    assert entries(box, "linked") + entries(box, "labelled") == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"two\nlines", "one line of at most 500"),
        (b"\xff\xfe", "without control characters"),  # no UTF-8
        (b"\x1b[31mred", "without control characters"),
        ("record \u202e1174".encode(), "without control characters"),  # shown from right to left
        (b" " * 4000 + b"x" * 100, "more than 4096 bytes are on stdin"),  # and not cut off
    ],
)
def test_what_no_note_can_be_is_refused_from_stdin_too(box: Path, given: bytes, words: str) -> None:
    first, *_ = case_ids(box)
    result = CliRunner().invoke(main, ["link", first, "-", "--state", str(box / "state")], input=given)
    assert_one_line(result, 2, words)
    assert entries(box, "linked") == []


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
    "command",
    [
        ("requeue", "0" * 16),
        ("forget", "0" * 16, "--yes"),
        ("link", "0" * 16, "a note"),
        ("label", "0" * 16, "covid", "--by", "W"),
        ("retain",),
        ("backup", "somewhere"),
    ],
)
def test_a_folder_without_a_ledger_is_named_and_not_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert_one_line(call(*command, "--state", tmp_path / "none"), 2, "holds no ledger", "--state")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("operations.md", {"requeue", "forget", "label", "link", "retain", "backup", "restore", "find"}),
        ("audit.md", {"audit"}),
        ("similar.md", {"similar", "link", "label"}),
    ],
)
def test_a_page_names_only_commands_and_options_that_exist(name: str, commands: set[str]) -> None:
    page = (Path(__file__).parent.parent / "docs" / name).read_text(encoding="utf-8")
    lines = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("edge-cxr ")]
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
