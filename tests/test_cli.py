"""The command line: one clear line and the right exit code for every mistake, and JSON that machines can read."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.cli import LAZY, main
from edge.phantom import render
from edge.phantom_dicom import write_dicom, write_png


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    write_dicom(render(1, "covid", longest_side=256), tmp_path / "chest.dcm")
    return tmp_path / "chest.dcm"


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def assert_one_line(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.stderr.splitlines() if line and not line.startswith("{")]
    assert line.startswith("edge-cxr: ")
    for word in words:
        assert word in line


def commands(group: click.Group, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


def test_every_command_has_help_with_an_example() -> None:
    found = dict(commands(main))
    assert {name for (name, *_) in found} >= {"watch", "infer", "similar", "find", "bench", "demo", "doctor", *LAZY}
    for path, command in found.items():
        told = " ".join(f"{command.help} {command.epilog}".split())
        assert f"Example: edge-cxr {' '.join(path)}" in told, path


def test_a_missing_folder(tmp_path: Path, bundle: Path) -> None:
    result = call("watch", tmp_path / "nowhere", "--state", tmp_path / "state", "--bundle", bundle, "--once")
    assert_one_line(result, 2, "incoming folder", "does not exist", "create it")
    assert not (tmp_path / "state").exists()  # nothing is made for a mistyped name


def test_an_unreadable_bundle(tmp_path: Path, incoming: Path) -> None:
    result = call("watch", incoming, "--state", tmp_path / "state", "--bundle", incoming, "--once")
    assert_one_line(result, 2, "manifest.json is missing", "copy the whole bundle again")


def test_a_fault_of_the_system_is_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = call("demo", "--folder", tmp_path / "file" / "demo")
    assert_one_line(result, 1, "Not a directory", str(tmp_path / "file" / "demo"), "check the paths")


def test_wrong_known_answers_score_nothing_at_the_command_line_either(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    expected = json.loads((folder / "golden/expected.json").read_text())
    expected["cases"][0]["precisions"]["fp32"]["score"] += 0.1
    (folder / "golden/expected.json").write_text(json.dumps(expected))
    write_manifest(folder)
    write_png(render(1, "covid", longest_side=256), tmp_path / "chest.png")
    for command in (("infer", tmp_path / "chest.png"), ("similar", tmp_path / "chest.png")):
        assert_one_line(call(*command, "--bundle", folder), 1, "known-answer test failed", "nothing is scored")
    told = call("doctor", "--bundle", folder, "--state", tmp_path / "state")
    assert told.exit_code == 1
    assert "FAIL  known answers: known-answer test failed" in told.stdout
    assert not (tmp_path / "state").exists()


def test_other_patients_are_asked_for_by_option_or_setting(
    tmp_path: Path, bundle: Path, chest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("similar", chest, "--bundle", bundle, "--state", tmp_path / "state", "--json")
    assert_one_line(call(*asked, "--other-patients"), 2, "no site key", "check --state")
    monkeypatch.setenv("EDGE_CXR_SAME_PATIENT", "no")
    assert_one_line(call(*asked), 2, "no site key", "check --state")
    assert call(*asked, "--same-patient").exit_code == 0


def test_a_corrupted_onnx(tmp_path: Path, incoming: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    model = folder / "model.fp32.onnx"
    model.write_bytes(model.read_bytes()[:-1000])
    arguments = ("watch", incoming, "--state", tmp_path / "state", "--bundle", folder, "--once")
    assert_one_line(call(*arguments), 2, "does not match its digest", "copy the bundle again")
    write_manifest(folder)  # damaged before it was packed
    assert_one_line(call(*arguments), 2, "model.fp32.onnx is incomplete or damaged", "export the bundle again")
    model.write_bytes(b"\x08\x0a")  # an ONNX file without a graph
    write_manifest(folder)
    assert_one_line(call(*arguments), 1, "cannot compile", "export it again")


def test_a_port_in_use(tmp_path: Path, incoming: Path, bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = call(
            "watch", incoming, "--state", tmp_path / "state", "--bundle", bundle, "--once", "--listen", address
        )
    assert_one_line(result, 2, address, "in use", "--listen")


def test_a_state_folder_inside_the_incoming_folder(incoming: Path, bundle: Path) -> None:
    result = call("watch", incoming, "--state", incoming / "state", "--bundle", bundle, "--once")
    assert_one_line(result, 2, "lies inside the incoming folder", "--state")
    assert list(incoming.iterdir()) == []


def test_a_state_folder_with_other_things(tmp_path: Path, incoming: Path, bundle: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home" / "thesis.txt").touch()
    result = call("watch", incoming, "--state", tmp_path / "home", "--bundle", bundle, "--once")
    assert_one_line(result, 1, "holds other files", "--state")
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o755


def test_warnings_are_shown_to_people(incoming: Path, bundle: Path, tmp_path: Path) -> None:
    write_png(render(1, "covid", longest_side=256), incoming / "chest.png")
    shown = call("watch", incoming, "--state", tmp_path / "state", "--bundle", bundle, "--once").stdout
    assert "[no_view]" in shown
    assert "1 scored, 0 not scored" in shown


def test_a_state_folder_that_is_a_file(tmp_path: Path, incoming: Path, bundle: Path) -> None:
    (tmp_path / "state").touch()
    result = call("watch", incoming, "--state", tmp_path / "state", "--bundle", bundle, "--once")
    assert_one_line(result, 1, "cannot be used", "--state")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--precision", "int9", ("int9", "fp32")),
        ("--precision", "int8", ("holds fp32, not int8",)),
        ("--backend", "abacus", ("abacus", "openvino")),
        ("--after", "burn", ("burn", "archive")),
    ],
)
def test_a_wrong_choice(
    tmp_path: Path, incoming: Path, bundle: Path, option: str, value: str, words: tuple[str, ...]
) -> None:
    result = call("watch", incoming, "--state", tmp_path / "state", "--bundle", bundle, "--once", option, value)
    assert_one_line(result, 2, *words)


def test_tensorrt_says_what_to_do_instead(tmp_path: Path, incoming: Path, bundle: Path) -> None:
    result = call(
        "watch", incoming, "--state", tmp_path / "state", "--bundle", bundle, "--once", "--backend", "tensorrt"
    )
    assert_one_line(result, 1, "no GPU can be used", "--backend openvino")


def test_watch_once_prints_json_lines(incoming: Path, bundle: Path, chest: Path, tmp_path: Path) -> None:
    chest.rename(incoming / "chest.dcm")
    result = call("watch", incoming, "--state", tmp_path / "state", "--bundle", bundle, "--once", "--json")
    (report,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert report["status"] == "scored"
    assert result.exit_code == 0


def test_infer_gives_reports_in_order_and_fails_when_one_is_refused(bundle: Path, chest: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not a radiograph")
    good = call("infer", chest, "--bundle", bundle, "--json")
    assert good.exit_code == 0
    (report,) = json.loads(good.stdout)
    assert 0 < report["score"] < 1
    both = call("infer", chest, tmp_path / "note.txt", "--bundle", bundle, "--json")
    assert both.exit_code == 1
    assert [entry["reason"] for entry in json.loads(both.stdout)] == [None, "unreadable"]
    assert "above the operating point" in call("infer", chest, "--bundle", bundle).stdout
    assert_one_line(call("infer", tmp_path / "none.dcm", "--bundle", bundle), 2, "is no file")


def test_similar_by_file_and_by_case(bundle: Path, chest: Path, incoming: Path, tmp_path: Path) -> None:
    told = json.loads(call("similar", chest, "--bundle", bundle, "--json", "-k", "3").stdout)
    by_file = told["neighbours"]
    assert len(by_file) == 3
    assert told["knn_score"] == pytest.approx(sum(near["score"] for near in by_file) / 3)
    assert by_file == sorted(by_file, key=lambda near: near["distance"])
    chest.rename(incoming / "chest.dcm")
    state = tmp_path / "state"
    watched = call("watch", incoming, "--state", state, "--bundle", bundle, "--once", "--json")
    case_id = json.loads(watched.stdout)["case_id"]
    by_case = json.loads(call("similar", case_id, "--bundle", bundle, "--state", state, "--json", "-k", "3").stdout)
    assert by_case["neighbours"] == by_file
    assert (by_case["score"], by_case["knn_score"]) == (pytest.approx(told["score"]), told["knn_score"])
    assert_one_line(call("similar", "0" * 16, "--bundle", bundle, "--state", state), 2, "has no score")
    assert_one_line(call("similar", "nothing", "--bundle", bundle, "--state", state), 2, "neither a file nor a case")


def test_find_prints_the_results_of_a_file(bundle: Path, chest: Path, incoming: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert_one_line(call("find", chest, "--state", state), 2, "holds no ledger")
    call("watch", incoming, "--state", state, "--bundle", bundle, "--once")
    unknown = call("find", chest, "--state", state, "--json")
    assert (unknown.exit_code, json.loads(unknown.stdout)) == (1, [])
    (incoming / "copy.dcm").write_bytes(chest.read_bytes())
    call("watch", incoming, "--state", state, "--bundle", bundle, "--once")
    (report,) = json.loads(call("find", chest, "--state", state, "--json").stdout)
    assert report["status"] == "scored"


def test_a_command_whose_extra_is_missing_says_how_to_get_it() -> None:
    """Without torch the box still lists the command, and names the fix."""
    code = "import sys; sys.modules['torch'] = None; from edge.cli import main; main(['train', '--network', 'lungs'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "`train` needs torch. In a checkout, run: pip install '.[export]'" in done.stderr


def test_a_link_is_followed_where_a_person_names_it(bundle: Path, chest: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.dcm"
    link.symlink_to(chest)
    for command in ("infer", "similar"):
        assert call(command, link, "--bundle", bundle).exit_code == 0


def test_similar_draws_a_sheet_and_shows_only_what_is_wanted(bundle: Path, chest: Path, tmp_path: Path) -> None:
    asked = ("similar", chest, "--bundle", bundle, "--state", tmp_path / "state")
    shown = call(*asked, "--label", "other", "--sheet", tmp_path / "sheet.png")
    assert shown.exit_code == 0
    assert shown.stdout.count("other") == 4
    assert "positive among their labels 0%" in shown.stdout
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert_one_line(call(*asked, "--view", "AP"), 2, "neither view nor time", "include_earlier_cases")
    assert_one_line(call(*asked, "--max-age-days", "3"), 2, "neither view nor time")
    assert_one_line(call(*asked, "--since", "2026-01-31", "--max-age-days", "3"), 2, "the same thing twice")
    assert_one_line(call(*asked, "--since", "2026-01-31", "--until", "2026-01-31"), 2, "--until is not after --since")
    assert_one_line(call(*asked, "--reference-images", tmp_path), 2, "add --sheet")
    assert call(*asked, "--view", "LATERAL").exit_code == 2
