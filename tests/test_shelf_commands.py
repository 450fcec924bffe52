"""`edge-cxr bundle install`, `activate`, `rollback`, `list` and `remove`, as an operator types them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from shelf_bundles import key_of, used_state, variant, wrong
from tiny_bundle import write_tiny_bundle

from edge.cli import main


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bundle", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Of a box that follows the active bundle."""
    state = used_state(tmp_path / "state")
    told = f'state = "{state.root}"\nbundle = "active"\nbackend = "openvino"\n'
    (tmp_path / "edge-cxr.toml").write_text(told)
    return tmp_path / "edge-cxr.toml"


def test_install_activate_back_remove(tiny: Path, settings: Path, tmp_path: Path) -> None:
    site = variant(tiny, tmp_path / "site", name="site")
    key = key_of(site)
    installed = call("install", site, "--config", settings)
    assert installed.stdout == f"site {key} is installed; use it: edge-cxr bundle activate {key}\n"
    assert "was installed before, and is whole" in call("install", site, "--config", settings).stdout
    activated = call("activate", "site", "--config", settings)
    assert activated.stdout == f"site {key} is active; it gave its known answers on openvino fp32\n"
    assert activated.stderr == ""
    shelf = {one["key"]: one for one in json.loads(call("list", "--config", settings, "--json").stdout)}
    assert shelf[key]["active"]
    assert (shelf["research"]["active"], shelf["research"]["before"]) == (False, 1)
    table = call("list", "--config", settings).stdout
    assert all(text in table for text in ("site", key, "research", "phantom", "1 before"))
    assert call("remove", "site", "--config", settings).exit_code == 2
    back = json.loads(call("activate", "phantom", "--config", settings, "--json").stdout)
    assert (back["active"], back["before"], back["used"]) == ("phantom", key, True)
    assert call("rollback", "--config", settings).stdout.startswith(f"site {key} is active")


def test_wrong_answers_are_not_activated(tiny: Path, settings: Path, tmp_path: Path) -> None:
    call("install", wrong(tiny, tmp_path / "wrong"), "--config", settings)
    refused = call("activate", "wrong", "--config", settings)
    assert refused.exit_code == 1
    assert "known-answer test failed" in refused.stderr
    assert json.loads((tmp_path / "state/bundles/active.json").read_text()) == {"active": "research", "before": []}


def test_a_setting_that_names_a_bundle_is_told(tiny: Path, settings: Path, tmp_path: Path) -> None:
    site = variant(tiny, tmp_path / "site", name="site")
    call("install", site, "--config", settings)
    place = tmp_path / "state/bundles" / key_of(site)
    settings.write_text(settings.read_text().replace('"active"', f'"{place}"'))
    told = call("activate", "site", "--config", settings)
    assert told.exit_code == 0
    assert 'changes nothing until it says bundle = "active"' in told.stderr
    call("install", variant(tiny, tmp_path / "other", name="other"), "--config", settings)
    call("activate", "other", "--config", settings)
    call("activate", "phantom", "--config", settings)
    refused = call("remove", "site", "--config", settings)
    assert refused.exit_code == 2
    assert f"the setting bundle names {key_of(site)}" in refused.stderr


def test_what_the_setting_shadow_names_stays(tiny: Path, settings: Path, tmp_path: Path) -> None:
    site = variant(tiny, tmp_path / "site", name="site")
    call("install", site, "--config", settings)
    plain = settings.read_text()
    for shadow in ("site", key_of(site), tmp_path / "state/../state/bundles" / key_of(site)):
        settings.write_text(f'{plain}shadow = "{shadow}"\n')
        refused = call("remove", "site", "--config", settings)
        assert refused.exit_code == 2
        assert f"the setting shadow names {key_of(site)}" in refused.stderr
    settings.write_text(f'{plain}shadow = "gone"\n')  # which stands in the way of no other
    assert call("remove", "site", "--config", settings).exit_code == 0


def test_a_state_folder_without_a_ledger_is_none(tiny: Path, tmp_path: Path) -> None:
    refused = call("install", tiny, "--state", tmp_path / "nowhere")
    assert refused.exit_code == 2
    assert "holds no ledger" in refused.stderr
    assert not (tmp_path / "nowhere").exists()
    assert call("list", "--state", tmp_path / "nowhere").exit_code == 0
