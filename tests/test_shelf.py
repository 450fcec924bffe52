"""Bundles side by side: whole or not there, one active, one command back, whatever is killed half-way."""

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from kill_points import killed_at
from shelf_bundles import key_of, used_state, variant
from tiny_bundle import write_tiny_bundle

from edge.audit import Event
from edge.audit_log import AuditLog
from edge.bundle import PACKAGED_IDS, open_bundle, sign_bundle
from edge.config import Config
from edge.errors import BundleError, EngineError, StateError, UsageError
from edge.shelf import Mark, installed_keys, open_configured, pinned, place, read_mark
from edge.shelf_changes import activate, install, remove, roll_back
from edge.shelf_list import find_key, list_shelf
from edge.signature import load_key, make_key
from edge.state import StateFolder


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four that differ."""
    folder = tmp_path_factory.mktemp("bundles")
    first = write_tiny_bundle(folder / "first")
    return [variant(first, folder / f"site-{number}", name=f"site-{number}") for number in range(4)]


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return used_state(tmp_path / "state")


@pytest.fixture
def config(state: StateFolder) -> Config:
    return Config(state=str(state.root), bundle="active")


def proved(_: str) -> str:
    return "openvino fp32"


def refuses(_: str) -> str:
    raise EngineError("known-answer test failed")


def put(source: Path, state: StateFolder, config: Config) -> str:
    return install(source, state, config).folder.name


def test_what_is_installed_is_what_was_verified_and_private(
    bundles: list[Path], state: StateFolder, config: Config, tmp_path: Path
) -> None:
    source = shutil.copytree(bundles[0], tmp_path / "source")
    (source / "unlisted.txt").write_text("not part of it")
    done = install(source, state, config)
    assert (done.is_new, done.folder) == (True, state.root / "bundles" / key_of(source))
    copied = {path.relative_to(done.folder) for path in done.folder.rglob("*") if path.is_file()}
    original = {path.relative_to(bundles[0]) for path in bundles[0].rglob("*") if path.is_file()}
    assert copied == original
    assert all((done.folder / name).read_bytes() == (source / name).read_bytes() for name in original)
    modes = {path.stat().st_mode & 0o777 for path in (done.folder, *done.folder.rglob("*")) if path.is_dir()}
    assert modes == {0o700}
    assert {(done.folder / name).stat().st_mode & 0o777 for name in copied} == {0o600}
    again = install(source, state, config)
    assert (again.is_new, again.folder) == (False, done.folder)
    assert read_mark(state.root) == Mark()  # it is there, and not used


def test_a_signature_comes_along_and_trusted_keys_are_asked(
    bundles: list[Path], state: StateFolder, config: Config, tmp_path: Path
) -> None:
    source = shutil.copytree(bundles[0], tmp_path / "source")
    public_key = make_key(tmp_path / "site.key")
    trusting = Config(**{**vars(config), "trusted_keys": (public_key,)})
    with pytest.raises(BundleError, match="trusted_keys ask for one"):
        install(source, state, trusting)
    assert installed_keys(state.root) == []
    sign_bundle(source, load_key(tmp_path / "site.key"))
    key = put(source, state, trusting)
    (shown,) = [one for one in list_shelf(state.root) if one.key == key]
    assert (shown.signed_by, shown.name, shown.fault) == (public_key, "site-0", None)
    assert activate(key, state, trusting, proved).bundle.signed_by == public_key


@pytest.mark.parametrize("harm", ["model", "manifest", "missing"])
def test_a_damaged_bundle_is_not_installed_and_a_damaged_copy_is_replaced(
    bundles: list[Path], state: StateFolder, config: Config, tmp_path: Path, harm: str
) -> None:
    def spoil(folder: Path) -> None:
        if harm == "missing":
            (folder / "reference.npz").unlink()
        else:
            with (folder / ("model.fp32.onnx" if harm == "model" else "manifest.json")).open("ab") as opened:
                opened.write(b" \n{")

    spoilt = shutil.copytree(bundles[0], tmp_path / "spoilt")
    spoil(spoilt)
    with pytest.raises(BundleError):
        install(spoilt, state, config)
    assert installed_keys(state.root) == []
    key = put(bundles[0], state, config)
    spoil(state.root / "bundles" / key)
    with pytest.raises(BundleError):
        activate(key, state, config, proved)
    assert install(bundles[0], state, config).is_new
    assert activate(key, state, config, proved).key == key
    assert not list((state.root / "bundles").glob(".*old*")) or install(bundles[1], state, config)
    assert not list((state.root / "bundles").glob(".*old*"))


def test_activate_then_back_and_further_back(bundles: list[Path], state: StateFolder, config: Config) -> None:
    keys = [put(source, state, config) for source in bundles[:3]]
    assert open_configured(config).manifest.name == "research"
    for key, source in zip(keys, bundles, strict=False):
        activate(key, state, config, proved)
        assert open_configured(config).id == open_bundle(str(source)).id
    assert read_mark(state.root) == Mark(keys[2], (keys[1], keys[0], "research"))
    back = [roll_back(state, config, proved).key for _ in range(3)]
    assert back == [keys[1], keys[0], "research"]
    with pytest.raises(UsageError, match="no bundle was active before research"):
        roll_back(state, config, proved)
    assert read_mark(state.root) == Mark("research")


def test_a_packaged_bundle_can_be_active(state: StateFolder, config: Config) -> None:
    assert activate("phantom", state, config, proved).before == "research"
    assert open_configured(config).id == PACKAGED_IDS["phantom"]
    with pytest.raises(UsageError, match="comes with the program"):
        install(Path("phantom"), state, config)
    with pytest.raises(UsageError, match="comes with the program"):
        remove("phantom", state)


def test_activated_twice_it_is_once_in_the_history(bundles: list[Path], state: StateFolder, config: Config) -> None:
    keys = [put(source, state, config) for source in bundles[:2]]
    for key in (keys[0], keys[0], keys[1], keys[0]):
        activate(key, state, config, proved)
    assert read_mark(state.root) == Mark(keys[0], (keys[1], "research"))


@pytest.mark.parametrize("act", ["activate", "rollback"])
def test_what_does_not_prove_itself_changes_nothing(
    bundles: list[Path], state: StateFolder, config: Config, act: str
) -> None:
    keys = [put(source, state, config) for source in bundles[:2]]
    activate(keys[0], state, config, proved)
    before = (state.root / "bundles/active.json").read_bytes()
    with pytest.raises(EngineError):
        activate(keys[1], state, config, refuses) if act == "activate" else roll_back(state, config, refuses)
    assert (state.root / "bundles/active.json").read_bytes() == before


def test_neither_the_active_one_nor_the_one_before_can_go(
    bundles: list[Path], state: StateFolder, config: Config
) -> None:
    keys = [put(source, state, config) for source in bundles[:4]]
    for key in keys[:3]:
        activate(key, state, config, proved)
    with pytest.raises(UsageError, match="is active"):
        remove(keys[2], state)
    with pytest.raises(UsageError, match="what a rollback leads to"):
        remove(keys[1], state)
    for key in (keys[0], keys[3]):
        remove(key, state)
    assert installed_keys(state.root) == sorted(keys[1:3])
    assert read_mark(state.root) == Mark(keys[2], (keys[1], "research"))
    assert [path.name for path in (state.root / "bundles").glob(".*")] == []


def test_each_change_is_in_the_audit_log(bundles: list[Path], state: StateFolder, config: Config) -> None:
    keys = [put(source, state, config) for source in bundles[:2]]
    for key in keys:
        activate(key, state, config, proved)
    activate("research", state, config, proved)
    roll_back(state, config, proved)
    activate("phantom", state, config, proved)
    remove(keys[0], state)
    with AuditLog(state.ledger, site_key=state.site_key) as log:
        told = [(entry.event, entry.detail) for entry in log.entries()]
        assert log.verify(()).faults == ()
    assert [event for event, _ in told] == [Event.BUNDLE_INSTALLED] * 2 + [Event.BUNDLE_ACTIVATED] * 5 + [
        Event.BUNDLE_REMOVED
    ]
    steps = [(detail["from"], detail["to"]) for _, detail in told if "from" in detail]
    assert steps == [("research", keys[0]), (keys[0], keys[1]), (keys[1], "research"), ("research", keys[1]),
                     (keys[1], "phantom")]  # fmt: skip
    assert all(detail["by"] for _, detail in told)


def test_the_disk_keeps_its_reserve(bundles: list[Path], state: StateFolder, config: Config) -> None:
    free = shutil.disk_usage(state.root).free
    tight = Config(**{**vars(config), "reserve_percent": 100.0, "reserve_bytes": free - 1})
    with pytest.raises(StateError, match=r"would be added; free some"):
        install(bundles[0], state, tight)
    assert installed_keys(state.root) == []


def test_another_command_at_work_is_not_disturbed(bundles: list[Path], state: StateFolder, config: Config) -> None:
    (state.root / "bundles").mkdir()
    held = os.open(state.root / "bundles", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    (state.root / "bundles/.0123456789ab.part").mkdir()  # what the other one is writing
    for act in (
        lambda: install(bundles[0], state, config),
        lambda: activate("phantom", state, config, proved),
        lambda: roll_back(state, config, proved),
        lambda: remove("0" * 12, state),
    ):
        with pytest.raises(UsageError, match="another edge-cxr bundle command is at work"):
            act()
    assert (state.root / "bundles/.0123456789ab.part").is_dir()
    os.close(held)
    install(bundles[0], state, config)
    assert not (state.root / "bundles/.0123456789ab.part").exists()


def test_several_at_once_leave_whole_bundles_and_a_mark(
    bundles: list[Path], state: StateFolder, config: Config
) -> None:
    """Whoever comes second is refused, and tries again."""

    def insist(act: Callable[[], object]) -> None:
        while True:
            try:
                act()
                return
            except UsageError:
                pass

    def work(source: Path) -> None:
        insist(lambda: install(source, state, config))
        insist(lambda: activate(key_of(source), state, config, proved))

    threads = [threading.Thread(target=work, args=(source,)) for source in bundles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mark = read_mark(state.root)
    assert sorted([mark.active, *mark.before]) == sorted([*map(key_of, bundles), "research"])
    assert all(one.fault is None for one in list_shelf(state.root))


def test_killed_at_any_point_an_install_left_all_or_nothing(
    bundles: list[Path], state: StateFolder, config: Config
) -> None:
    key = key_of(bundles[0])
    (state.root / "bundles").mkdir()
    change = 1
    while killed_at(change, lambda: install(bundles[0], state, config)):
        for name in installed_keys(state.root):
            assert open_bundle(str(state.root / "bundles" / name)).id[:12] == key
            shutil.rmtree(state.root / "bundles" / name)
        change += 1
    assert change > 10
    assert sorted(path.name for path in (state.root / "bundles").iterdir()) == [key, "active.json"]


def test_killed_at_any_point_a_damaged_copy_is_gone_or_whole(
    bundles: list[Path], state: StateFolder, config: Config
) -> None:
    """And the next install puts it right."""
    key = put(bundles[0], state, config)
    model = state.root / "bundles" / key / "model.fp32.onnx"
    change = 6  # before that as in an install
    model.write_bytes(b"damaged")
    while killed_at(change, lambda: install(bundles[0], state, config)):
        assert install(bundles[0], state, config).folder.name == key
        assert open_bundle(str(model.parent))
        model.write_bytes(b"damaged")
        change += 4
    assert open_bundle(str(model.parent))


@pytest.mark.parametrize("act", ["activate", "remove"])
def test_killed_at_any_point_the_mark_names_a_whole_bundle(
    bundles: list[Path], state: StateFolder, config: Config, act: str
) -> None:
    keys = [put(source, state, config) for source in bundles[:3]]
    for key in keys[:2]:
        activate(key, state, config, proved)
    activate("phantom", state, config, proved)
    work: Callable[[], object] = {
        "activate": lambda: activate(keys[2], state, config, proved),
        "remove": lambda: remove(keys[0], state),
    }[act]
    change = 1
    while killed_at(change, work):
        assert open_configured(config).manifest.name in ("phantom", "site-2" if act == "activate" else "phantom")
        for key in read_mark(state.root).before:
            if key in keys:
                assert open_bundle(str(state.root / "bundles" / key))
        put(bundles[0], state, config)
        change += 1
    assert change > 1
    left = {path.name for path in (state.root / "bundles").iterdir()}
    assert left == {"active.json", *(keys[1:] if act == "remove" else keys)}


DAMAGED_MARKS = (
    b"",
    b"{}",
    b'{"active": "research"}',
    b'{"active": "../x", "before": []}',
    b'{"active": "research", "before": ["/etc"]}',
    b'{"active": 1, "before": []}',
    b"[" * 200_000,
)


@pytest.mark.parametrize("content", DAMAGED_MARKS)
def test_a_damaged_mark_is_told_and_mended_by_activate(
    bundles: list[Path], state: StateFolder, config: Config, content: bytes
) -> None:
    key = put(bundles[0], state, config)
    (state.root / "bundles/active.json").write_bytes(content)
    with pytest.raises(BundleError, match="run: edge-cxr bundle activate"):
        open_configured(config)
    with pytest.raises(BundleError, match="run: edge-cxr bundle activate"):
        roll_back(state, config, proved)
    assert activate(key, state, config, proved).before == "unknown"
    assert read_mark(state.root) == Mark(key)  # or a rollback would lead to what never was active
    with AuditLog(state.ledger, site_key=state.site_key) as log:
        assert [entry.detail["from"] for entry in log.entries() if "from" in entry.detail] == ["unknown"]


def test_what_is_gone_is_told_and_nothing_else_scores_for_it(
    bundles: list[Path], state: StateFolder, config: Config
) -> None:
    key = put(bundles[0], state, config)
    assert open_configured(config).manifest.name == "research"
    activate(key, state, config, proved)
    shutil.rmtree(state.root / "bundles" / key)
    with pytest.raises(BundleError, match=f"the active bundle {key} is not on this box; run: edge-cxr bundle install"):
        open_configured(config)
    put(bundles[0], state, config)
    assert open_configured(config).manifest.name == "site-0"
    (state.root / "bundles/active.json").unlink()
    with pytest.raises(BundleError, match=r"active\.json is gone; run: edge-cxr bundle activate"):
        open_configured(config)
    put(bundles[1], state, config)  # which does not say that none was active
    with pytest.raises(BundleError, match="is gone"):
        open_configured(config)
    activate(key, state, config, proved)
    assert open_configured(config).manifest.name == "site-0"


def test_a_bundle_can_be_named_for_good(bundles: list[Path], state: StateFolder, config: Config) -> None:
    key = put(bundles[0], state, config)
    activate(key, state, config, proved)
    for named in ("research", key):
        bundle = open_bundle(place(state.root, named))
        assert pinned(config, bundle) == replace(config, bundle=place(state.root, named))
        assert pinned(replace(config, bundle="phantom"), bundle).bundle == "phantom"


def test_a_bundle_is_found_by_name_or_the_beginning_of_its_id(
    bundles: list[Path], state: StateFolder, config: Config, tmp_path: Path
) -> None:
    keys = [put(source, state, config) for source in bundles[:2]]
    assert find_key(state.root, "site-0") == keys[0]
    assert find_key(state.root, keys[1][:6]) == keys[1]
    assert find_key(state.root, open_bundle(str(bundles[1])).id) == keys[1]
    assert find_key(state.root, "research") == "research"
    assert find_key(state.root, PACKAGED_IDS["phantom"][:12]) == "phantom"
    for unknown in ("", "site", keys[0][:2], "../" + keys[0]):
        with pytest.raises(UsageError, match=r"is no bundle of this box.*bundle install FOLDER"):
            find_key(state.root, unknown)
    twin = variant(bundles[0], tmp_path / "twin", name="site-0", point=0.25)
    put(twin, state, config)
    with pytest.raises(UsageError, match="may be any of"):
        find_key(state.root, "site-0")


def test_the_list_tells_what_there_is(bundles: list[Path], state: StateFolder, config: Config) -> None:
    keys = [put(source, state, config) for source in bundles[:2]]
    activate(keys[0], state, config, proved)
    (state.root / "bundles" / keys[1] / "manifest.json").write_text(json.dumps({"name": 1}))
    shelf = {one.key: one for one in list_shelf(state.root)}
    assert list(shelf) == ["phantom", "research", *sorted(keys)]
    first = shelf[keys[0]]
    assert (first.name, first.role, first.active, first.before) == ("site-0", "phantom", True, None)
    assert first.size_bytes == sum(path.stat().st_size for path in bundles[0].rglob("*") if path.is_file())
    assert first.installed_s is not None
    assert (shelf["research"].before, shelf["research"].installed_s, shelf["research"].fault) == (1, None, None)
    assert "is of another bundle" in str(shelf[keys[1]].fault)
