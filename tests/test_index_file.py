"""An index file is what was saved or is refused: not one byte may differ, and a write that fails changes nothing."""

import hashlib
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import StateError
from edge.index_file import IndexDamaged, Stamp, load, locked, path_of, remove_all, save

BUNDLE = "b" * 64
STAMP = Stamp(BUNDLE, 128, "f16", 3, 7, "1:2.5")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("index")


@settings(max_examples=25)
@given(st.binary(max_size=300), st.integers(0, 2**53), st.integers(0, 2**53), st.text(max_size=9))
def test_what_was_saved_comes_back(scratch: Path, payload: bytes, count: int, last: int, forgotten: str) -> None:
    path, stamp = path_of(scratch, BUNDLE), Stamp(BUNDLE, 128, "f16", count, last, forgotten)
    save(path, stamp, payload)
    kept = load(path, BUNDLE)
    assert kept is not None
    assert (kept[0], bytes(kept[1])) == (stamp, payload)


@settings(max_examples=5)  # of some 300 places each
@given(st.binary(min_size=1, max_size=60), st.data())
def test_each_changed_byte_is_refused(scratch: Path, payload: bytes, data: st.DataObject) -> None:
    path = path_of(scratch, BUNDLE)
    save(path, STAMP, payload)
    whole = path.read_bytes()
    flip = data.draw(st.integers(1, 255))
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        with pytest.raises(IndexDamaged, match="is damaged"):
            load(path, BUNDLE)


def test_each_shorter_or_longer_file_is_refused(scratch: Path) -> None:
    path = path_of(scratch, BUNDLE)
    save(path, STAMP, b"payload\nwith a line")
    whole = path.read_bytes()
    for content in (*(whole[:length] for length in range(len(whole))), whole + b"\0", whole * 2):
        path.write_bytes(content)
        with pytest.raises(IndexDamaged, match=rf"is damaged \({len(content)} bytes\); it is built anew"):
            load(path, BUNDLE)


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    assert load(path_of(tmp_path / "missing", BUNDLE), BUNDLE) is None


def test_one_of_another_bundle_is_refused(tmp_path: Path) -> None:
    """Even where the first twelve digits, and so the name, are the same."""
    other = "b" * 12 + "c" * 52
    assert path_of(tmp_path, other) == path_of(tmp_path, BUNDLE)
    save(path_of(tmp_path, BUNDLE), replace(STAMP, bundle_id=other), b"payload")
    with pytest.raises(IndexDamaged, match=r"is of bundle b{12}, wanted"):
        load(path_of(tmp_path, BUNDLE), BUNDLE)


@pytest.mark.parametrize("header", [b'{"bundle_id": "b", "colour": "green"}', b"[]", b"7", b"none", b"\xff", b""])
def test_a_stamp_that_this_version_does_not_know_is_refused(tmp_path: Path, header: bytes) -> None:
    path, body = path_of(tmp_path, BUNDLE), header + b"\npayload"
    path.write_bytes(b"edge-cxr index 1 %s\n%s" % (hashlib.sha256(body).hexdigest().encode(), body))
    with pytest.raises(IndexDamaged, match="is of another version"):
        load(path, BUNDLE)


def test_what_cannot_be_read_is_refused_with_the_cause(tmp_path: Path) -> None:
    path_of(tmp_path, BUNDLE).mkdir()
    with pytest.raises(IndexDamaged, match=r"cannot be read \(Is a directory\)"):
        load(path_of(tmp_path, BUNDLE), BUNDLE)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    save(path_of(tmp_path / "index", BUNDLE), STAMP, b"payload")
    assert path_of(tmp_path / "index", BUNDLE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "index").stat().st_mode & 0o777 == 0o700


def test_a_save_that_fails_leaves_the_earlier_file_and_no_half_one(tmp_path: Path) -> None:
    path = path_of(tmp_path, BUNDLE)
    save(path, STAMP, b"first")
    whole = path.read_bytes()
    path.unlink()
    path.mkdir()  # a rename onto a folder fails after everything was written
    with pytest.raises(StateError, match="failed"):
        save(path, STAMP, b"second")
    assert list(tmp_path.iterdir()) == [path]
    path.rmdir()
    path.write_bytes(whole)
    assert load(path, BUNDLE) is not None


def test_a_large_index_is_not_copied_to_be_saved(tmp_path: Path) -> None:
    payload = bytearray(8_000_000)
    tracemalloc.start()
    try:
        save(path_of(tmp_path, BUNDLE), STAMP, payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(payload) / 8
    kept = load(path_of(tmp_path, BUNDLE), BUNDLE)
    assert kept is not None
    assert kept[1] == payload


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with locked(tmp_path):
            order.append("second")

    with locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_a_folder_that_cannot_be_made_is_a_fault_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("in the way")
    with pytest.raises(StateError, match="check the disk"), locked(tmp_path / "index"):
        pass


def test_remove_all_leaves_nothing_of_any_bundle(tmp_path: Path) -> None:
    with locked(tmp_path):
        save(path_of(tmp_path, BUNDLE), STAMP, b"one")
        save(path_of(tmp_path, "c" * 64), replace(STAMP, bundle_id="c" * 64), b"two")
        (tmp_path / ".bbbbbbbbbbbb.usearch.part").write_bytes(b"half")
        remove_all(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert load(path_of(tmp_path, BUNDLE), BUNDLE) is None
