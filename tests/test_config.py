"""Settings: one precedence, and nothing misspelt is let through."""

from dataclasses import fields
from pathlib import Path

import pytest

from edge.config import Config, file_to_read, resolve
from edge.errors import UsageError

ONE, TWO = (f"ed25519:{letter * 43}=" for letter in "AE")  # any 32 bytes


def toml(folder: Path, text: str) -> Path:
    path = folder / "edge-cxr.toml"
    path.write_text(text)
    return path


def test_defaults_and_their_origin() -> None:
    resolved = resolve({}, {}, None)
    assert resolved.config == Config()
    assert set(resolved.origin.values()) == {"default"}
    assert resolved.origin.keys() == {field.name for field in fields(Config)}


def test_option_then_environment_then_file_then_default(tmp_path: Path) -> None:
    file = toml(tmp_path, 'bundle = "file"\nstate = "file"\nafter = "delete"')
    environment = {"EDGE_CXR_BUNDLE": "environment", "EDGE_CXR_STATE": "environment", "PATH": "/bin"}
    resolved = resolve({"bundle": "option", "state": None}, environment, file)
    config, origin = resolved.config, resolved.origin
    assert (config.bundle, config.state, config.after, config.neighbours) == ("option", "environment", "delete", 4)
    names = ("bundle", "state", "after", "neighbours")
    assert [origin[name] for name in names] == ["option", "environment", "file", "default"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("NEIGHBOURS", "7", 7),
        ("SCAN_S", "2.5", 2.5),
        ("SCAN_S", "3", 3.0),
        ("INCLUDE_EARLIER_CASES", "yes", True),
        ("INCLUDE_EARLIER_CASES", "FALSE", False),
        ("INCLUDE_EARLIER_CASES", "0", False),
        ("SAME_PATIENT", "no", False),
        ("LISTEN", "", ""),
        ("TRUSTED_KEYS", f"{ONE}, {TWO}", (ONE, TWO)),
        ("TRUSTED_KEYS", "", ()),
    ],
)
def test_environment_values_are_typed(name: str, text: str, value: object) -> None:
    config = resolve({}, {f"EDGE_CXR_{name}": text}, None).config
    assert getattr(config, name.lower()) == value
    assert type(getattr(config, name.lower())) is type(value)


def test_a_whole_number_may_stand_for_seconds(tmp_path: Path) -> None:
    assert resolve({}, {}, toml(tmp_path, "scan_s = 3")).config.scan_s == 3.0


def test_trusted_keys_are_a_list_in_the_file(tmp_path: Path) -> None:
    config = resolve({}, {}, toml(tmp_path, f'trusted_keys = ["{ONE}", "{TWO}"]')).config
    assert config.trusted_keys == (ONE, TWO)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("neighbors = 3", r"unknown key 'neighbors' in .*edge-cxr\.toml; did you mean neighbours\?"),
        ("zzz = 1", r"unknown key 'zzz'.*known keys: state, bundle"),
        ('neighbours = "3"', r"neighbours \(file\) is '3'; it must be of type int"),
        ("neighbours = true", r"neighbours \(file\) is True; it must be of type int"),
        ("neighbours = 2.0", "must be of type int"),
        ("include_earlier_cases = 1", "must be of type bool"),
        ("neighbours = -1", r"neighbours \(file\) is -1; it must be greater"),
        ("scan_s = 0", r"scan_s \(file\) is 0\.0; it must be greater"),
        ("queue_size = 0", "must be greater"),
        ("decode_limit_s = -5", "must be greater"),
        ("known_answer_s = 1e12", "must be at most 31536000"),  # no thread can be told to wait so long
        ('after = "burn"', r"after \(file\) is 'burn'; it must be one of keep, archive, delete"),
        ('backend = "cuda"', "must be one of auto, openvino, tensorrt"),
        ('precision = "fp8"', "must be one of"),
        ('trusted_keys = "ed25519:"', r"trusted_keys \(file\) is 'ed25519:'; it must be a list"),
        ('trusted_keys = ["ed25519:AAAA"]', r"trusted_keys \(file\) holds 'ed25519:AAAA'; .*edge-cxr bundle keygen"),
        ("trusted_keys = [3]", r"trusted_keys \(file\) holds 3; a key is"),
        ("after = ", r"edge-cxr\.toml is not TOML .*mend that line"),
        ("after = 'x'\nafter = 'y'", "is not TOML"),
    ],
)
def test_what_the_file_gets_wrong_is_named_with_the_fix(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve({}, {}, toml(tmp_path, text))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"EDGE_CXR_NEIGHBORS": "3"}, r"unknown key 'neighbors' in the environment; did you mean neighbours\?"),
        ({"EDGE_CXR_NEIGHBOURS": "three"}, "EDGE_CXR_NEIGHBOURS is 'three'; it must be of type int"),
        ({"EDGE_CXR_INCLUDE_EARLIER_CASES": "maybe"}, "must be of type bool"),
        ({"EDGE_CXR_AFTER": "burn"}, r"after \(environment\) is 'burn'"),
        ({"EDGE_CXR_TRUSTED_KEYS": f"{ONE},"}, r"trusted_keys \(environment\) holds ''; a key is"),
        ({"EDGE_CXR_SCAN_S": "nan"}, r"scan_s \(environment\) is nan; it must be a number"),
        (
            {"EDGE_CXR_RESERVE_PERCENT": "150"},
            r"reserve_percent \(environment\) is 150.0; it must lie between 0 and 100",
        ),
        ({"EDGE_CXR_DECODE_LIMIT_S": "inf"}, "must be a number"),
    ],
)
def test_what_the_environment_gets_wrong(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve({}, environment, None)


def test_a_wrong_value_that_is_overridden_by_an_option_still_counts_as_unknown_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown key"):
        resolve({"neighbours": 3}, {}, toml(tmp_path, "neighbors = 3"))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read .*check --config"):
        resolve({}, {}, tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not TOML"):
        resolve({}, {}, tmp_path / "binary.toml")


def test_which_file_is_read(tmp_path: Path) -> None:
    """--config, then EDGE_CXR_CONFIG, then the installed file where there is one. An empty name means none."""
    installed, named = tmp_path / "installed.toml", {"EDGE_CXR_CONFIG": "named.toml"}
    assert file_to_read(None, {}, installed=installed) is None
    installed.touch()
    assert file_to_read("given.toml", named, installed=installed) == Path("given.toml")
    assert file_to_read(None, named, installed=installed) == Path("named.toml")
    assert file_to_read(None, {}, installed=installed) == installed
    assert file_to_read("", named, installed=installed) is None
    assert file_to_read(None, {"EDGE_CXR_CONFIG": ""}, installed=installed) is None


def test_the_name_of_the_file_is_no_setting(tmp_path: Path) -> None:
    assert resolve({}, {"EDGE_CXR_CONFIG": "elsewhere.toml"}, None).config == Config()
    with pytest.raises(UsageError, match="unknown key 'config'"):
        resolve({}, {}, toml(tmp_path, 'config = "elsewhere.toml"'))


def test_what_to_edit_to_change_a_value(tmp_path: Path) -> None:
    file = toml(tmp_path, 'after = "delete"')
    resolved = resolve({"bundle": "phantom"}, {"EDGE_CXR_SCAN_S": "3"}, file)
    told = [resolved.source(key) for key in ("after", "scan_s", "bundle", "state")]
    assert told == [str(file), "EDGE_CXR_SCAN_S", None, None]
