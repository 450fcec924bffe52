"""What a wheelhouse tells of itself, and the lock that it is made from."""

import json
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from small_wheelhouse import ROOT, small_wheelhouse

from install.audit import judged
from install.errors import InstallError
from install.wheelhouse import SBOM, digest_of, make_wheelhouse, open_wheelhouse
from install.wheels import read_wheel

LOCK = ROOT / "install/requirements.lock"


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_wheelhouse(tmp_path_factory.mktemp("made") / "wheelhouse")


def locked() -> list[Requirement]:
    lines = [line.split(" \\")[0] for line in LOCK.read_text().splitlines() if line[:1].isalnum()]
    return [Requirement(line) for line in lines]


def test_the_lock_has_all_that_the_box_needs_at_versions_that_it_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = [(canonicalize_name(one.name), str(one.specifier).removeprefix("==")) for one in locked()]
    for need in map(Requirement, project["dependencies"]):
        versions = [version for name, version in pinned if name == canonicalize_name(need.name)]
        assert versions, f"{need} is not locked; run: make lock"
        assert all(need.specifier.contains(version) for version in versions), f"{need}: {versions}; run: make lock"


def test_everything_locked_has_digests_and_nothing_tells_tales() -> None:
    pinned = locked()
    assert LOCK.read_text().count("--hash=sha256:") >= len(pinned)
    assert all(one.specifier and str(one.specifier).startswith("==") for one in pinned)
    names = {one.name for one in pinned}
    assert "openvino" in names
    assert "openvino-telemetry" not in names  # each `import openvino` would be reported to its vendor
    assert not names & {"torch", "onnx", "pip", "setuptools"}


def test_the_bill_of_materials_names_every_wheel(wheelhouse: Path) -> None:
    told = json.loads((wheelhouse / SBOM).read_text())
    ours, (small,) = told["metadata"]["component"], told["components"]
    assert (ours["name"], ours["version"], ours["type"]) == ("edge-cxr", "1.0", "application")
    assert (small["purl"], small["licenses"]) == ("pkg:pypi/small@1.5", [{"license": {"name": "MIT"}}])
    (wheel,) = (wheelhouse / "wheels").glob("small-*.whl")
    assert small["hashes"] == [{"alg": "SHA-256", "content": read_wheel(wheel).sha256}]
    assert {"ref": ours["bom-ref"], "dependsOn": [small["bom-ref"]]} in told["dependencies"]


def test_it_is_valid_cyclonedx(wheelhouse: Path) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    validator = validation.JsonStrictValidator(pytest.importorskip("cyclonedx.schema").SchemaVersion.V1_5)
    assert validator.validate_str((wheelhouse / SBOM).read_text()) is None
    broken = (wheelhouse / SBOM).read_text().replace('"type": "library"', '"type": "thing"')
    assert validator.validate_str(broken) is not None


def test_a_wheelhouse_is_known_by_its_wheels_and_units(wheelhouse: Path, tmp_path: Path) -> None:
    again = small_wheelhouse(tmp_path / "again")
    assert digest_of(again) == digest_of(wheelhouse)
    unit = again / "systemd/edge-cxr.service"
    unit.write_text(unit.read_text() + "# changed\n")
    assert digest_of(again) != digest_of(wheelhouse)
    assert open_wheelhouse(wheelhouse).version == "1.0"


def test_what_is_no_wheel_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"PK")
    with pytest.raises(InstallError, match=r"a\.whl is no wheel"):
        read_wheel(tmp_path / "a.whl")


def test_an_audit_tells_what_it_did_not_look_up() -> None:
    fine = {"name": "a", "version": "1", "vulns": []}
    unknown = {"name": "b", "skip_reason": "not found"}
    bad = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1"}]}

    def told(*packages: object) -> tuple[str, int]:
        return judged(json.dumps({"dependencies": packages}), "")

    assert told(fine, fine)[1] == told(fine, unknown)[1] == told(unknown)[1] == 0
    assert "1 of 2 locked packages are in the database" in told(fine, unknown)[0]
    assert "nothing was looked up" in told(unknown)[0]
    assert told(fine, bad)[1] == 1 and "c 2: PYSEC-1" in told(fine, bad)[0]
    answer, exit_code = judged("", "Traceback\nConnectionError: no route\n")
    assert (exit_code, "nothing was looked up" in answer, "no route" in answer) == (0, True, True)


def test_no_folder_of_somebody_elses_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InstallError, match="holds other files than a wheelhouse"):
        make_wheelhouse(ROOT, tmp_path)
    assert (tmp_path / "thesis.txt").exists()
