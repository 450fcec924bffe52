"""`edge-cxr bundle`, and every command that opens a bundle, where only signed ones may be opened."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.bundle import PACKAGED_IDS
from edge.cli import main
from edge.phantom import render
from edge.phantom_dicom import write_png


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine, tmp_path / "tiny")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert call("bundle", "keygen", tmp_path / "site.key").exit_code == 0
    return tmp_path / "site.key"


@pytest.fixture
def trusting(key: Path, tmp_path: Path) -> Path:
    """A configuration that trusts the key alone."""
    public_key = (tmp_path / "site.key.pub").read_text().strip()
    (tmp_path / "edge-cxr.toml").write_text(f'trusted_keys = ["{public_key}"]\n')
    return tmp_path / "edge-cxr.toml"


def test_keygen_prints_the_line_for_the_configuration_and_never_the_private_key(tmp_path: Path) -> None:
    made = call("bundle", "keygen", tmp_path / "site.key")
    public_key = (tmp_path / "site.key.pub").read_text().strip()
    assert made.stdout == f'trusted_keys = ["{public_key}"]\n'
    secret = (tmp_path / "site.key").read_text().splitlines()[1]
    assert secret not in made.output
    again = call("bundle", "keygen", tmp_path / "site.key")
    assert again.exit_code == 2
    assert "never overwritten" in again.stderr
    told = json.loads(call("bundle", "keygen", tmp_path / "other.key", "--json").stdout)
    assert told["public_key"] == Path(told["public_key_file"]).read_text().strip()
    assert Path(told["private_key"]).stat().st_mode & 0o777 == 0o600


def test_sign_then_verify(bundle: Path, key: Path, trusting: Path) -> None:
    public_key = key.with_name("site.key.pub").read_text().strip()
    before = call("bundle", "verify", bundle, "--config", trusting)
    assert before.exit_code == 1
    assert "has no manifest.sig" in before.stderr
    signed = call("bundle", "sign", bundle, "--key", key, "--json")
    assert json.loads(signed.stdout)["signed_by"] == public_key
    told = json.loads(call("bundle", "verify", bundle, "--config", trusting, "--json").stdout)
    assert (told["name"], told["signed_by"], told["trusted"]) == ("tiny", public_key, True)
    assert told["files"]["reference.npz"] == (bundle / "reference.npz").stat().st_size
    shown = call("bundle", "verify", bundle, "--config", trusting).stdout
    assert f"5 files match; id {told['id']}" in shown
    assert f"signed by {public_key}, a trusted key" in shown
    for name in told["files"]:
        assert f"  {name}\n" in shown


def test_verify_says_what_a_signature_is_worth(bundle: Path, key: Path) -> None:
    assert "not signed; anybody may have made it" in call("bundle", "verify", bundle).stdout
    call("bundle", "sign", bundle, "--key", key)
    assert "which may be anybody: no trusted_keys" in call("bundle", "verify", bundle).stdout
    assert not json.loads(call("bundle", "verify", bundle, "--json").stdout)["trusted"]
    packaged = json.loads(call("bundle", "verify", "phantom", "--json").stdout)
    assert (packaged["id"], packaged["trusted"]) == (PACKAGED_IDS["phantom"], True)
    assert "part of edge-cxr" in call("bundle", "verify", "phantom").stdout


@pytest.mark.parametrize("fault", ["flipped", "missing", "nowhere"])
def test_what_does_not_verify_exits_1_with_one_line(bundle: Path, fault: str) -> None:
    if fault == "flipped":
        (bundle / "MODEL_CARD.md").write_text("# Another\n")
    elif fault == "missing":
        (bundle / "MODEL_CARD.md").unlink()
    refused = call("bundle", "verify", bundle.parent / "nowhere" if fault == "nowhere" else bundle)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith("edge-cxr: ")


def test_verify_with_a_wrong_configuration_is_a_usage_error(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('trusted_keys = ["mine"]\n')
    assert call("bundle", "verify", bundle, "--config", tmp_path / "bad.toml").exit_code == 2


def test_a_key_that_others_may_read_signs_nothing(bundle: Path, key: Path) -> None:
    key.chmod(0o644)
    refused = call("bundle", "sign", bundle, "--key", key)
    assert refused.exit_code == 2
    assert f"run: chmod 600 {key}" in refused.stderr
    assert not (bundle / "manifest.sig").exists()


def test_show_tells_what_is_known_of_each_precision(bundle: Path) -> None:
    outcome = {
        "fp16": {"passed": False, "failures": ["AUC fell by 0.02"], "auc_loss": 0.02},
        "fp32": {"passed": True, "failures": []},
    }
    shutil.copyfile(bundle / "model.fp32.onnx", bundle / "model.fp16.onnx")
    metrics = {
        "test": {"auc": 0.9, "auc_low": 0.8, "auc_high": 0.95, "n_covid": 3, "n_other": 4},
        "one": {"n_covid": 2},
    }
    write_manifest(bundle, accuracy=outcome, metrics=metrics, precisions=["fp32", "fp16"])
    told = json.loads(call("bundle", "show", bundle, "--json").stdout)
    size_bytes = (bundle / "model.fp32.onnx").stat().st_size
    known = {"operating_point": 0.5, "temperature": None, "accuracy": outcome["fp32"], "bytes": size_bytes}
    failed = {**known, "operating_point": None, "accuracy": outcome["fp16"]}
    assert told["precisions"] == {"fp32": known, "fp16": failed}
    assert told["metrics"] == metrics
    assert (told["role"], told["members"], told["embedding_member"]) == ("phantom", ["tiny"], "tiny")
    listed = [path for path in bundle.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert told["bytes"] == sum(path.stat().st_size for path in listed)
    shown = call("bundle", "show", bundle).stdout
    for words in ("tiny (phantom)", "0.500", "none", "passed", "failed", "AUC fell by 0.02", "0.900 (0.800 to 0.950)"):
        assert words in shown


@pytest.mark.parametrize("metrics", [{"test": 0.9}, {"test": {"auc": "x", "auc_low": 1, "auc_high": 1}}, [0.9]])
def test_show_of_figures_that_are_none_is_refused_with_one_line(bundle: Path, metrics: object) -> None:
    write_manifest(bundle, metrics=metrics)
    refused = call("bundle", "show", bundle)
    assert refused.exit_code != 0
    (line,) = refused.stderr.splitlines()
    assert "manifest.json is incomplete or damaged" in line


def test_show_of_a_bundle_that_was_never_measured(bundle: Path) -> None:
    shown = call("bundle", "show", bundle).stdout
    assert "not measured" in shown
    assert "AUC" not in shown


def test_no_command_opens_an_unsigned_bundle_where_keys_are_trusted(
    bundle: Path, key: Path, trusting: Path, tmp_path: Path
) -> None:
    chest, incoming, state = tmp_path / "chest.png", tmp_path / "incoming", tmp_path / "state"
    write_png(render(1, "covid", longest_side=256), chest)
    incoming.mkdir()
    shutil.copyfile(chest, incoming / "chest.png")
    unasked = call("watch", incoming, "--once", "--state", state, "--bundle", bundle, "--json")
    case_id = json.loads(unasked.stdout)["case_id"]
    commands = (
        ("watch", incoming, "--once", "--state", state),
        ("infer", chest),
        ("similar", chest),
        ("similar", case_id, "--state", state),
        ("doctor", "--state", state),
        ("bundle", "show", bundle),
    )
    asked = [(*command, "--config", trusting) for command in commands]
    asked = [command if "show" in command else (*command, "--bundle", bundle) for command in asked]
    for command in asked:
        refused = call(*command)
        assert refused.exit_code != 0, command
        assert "has no manifest.sig" in refused.output, command
    assert "FAIL  bundle: bundle" in call(*asked[-2]).stdout  # doctor
    call("bundle", "sign", bundle, "--key", key)
    for command in asked:
        assert call(*command).exit_code == 0, command
