"""What a power cut may leave: everything that was synced, and of the rest what the rules allow."""

import random

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.durability.disk import Disk, File, Folder

ROOT = "/r"


def folder(disk: Disk, path: str = ROOT) -> Folder:
    found = disk.find(path)
    assert isinstance(found, Folder)
    return found


def states(disk: Disk, count: int = 200) -> list[dict[str, bytes]]:
    rng = random.Random(1)
    return [{path: content for path, (content, _) in disk.after_power_cut(rng).files.items()} for _ in range(count)]


def written(disk: Disk, path: str, content: bytes) -> File:
    file = File()
    disk.add(path, file)
    file.unsynced.append((0, content))
    return file


def test_what_was_synced_is_there() -> None:
    disk = Disk(ROOT)
    written(disk, "/r/a", b"whole").sync()
    disk.sync_folder(folder(disk))
    assert all(state == {"/r/a": b"whole"} for state in states(disk))


def test_a_file_without_its_name_synced_may_be_gone_and_may_be_there() -> None:
    disk = Disk(ROOT)
    written(disk, "/r/a", b"whole").sync()
    assert {tuple(state) for state in states(disk)} == {(), ("/r/a",)}


def test_a_name_without_its_bytes_synced_may_be_empty_torn_or_old() -> None:
    disk = Disk(ROOT)
    disk.put("/r/a", b"o" * 2000)
    file = disk.find("/r/a")
    assert isinstance(file, File)
    file.unsynced.append((0, b"n" * 2000))
    seen = {state["/r/a"] for state in states(disk)}
    assert {b"o" * 2000, b"n" * 2000} < seen
    assert any(b"o" in content and b"n" in content for content in seen)
    new = Disk(ROOT)
    written(new, "/r/b", b"x" * 600)
    new.sync_folder(folder(new))
    seen = {state["/r/b"] for state in states(new)}
    assert b"" in seen
    assert any(content and content.strip(b"x\0") for content in seen)  # garbage


def test_changes_to_a_folder_come_in_their_order() -> None:
    disk = Disk(ROOT)
    for name in "abc":
        written(disk, f"/r/{name}", b"").sync()
    disk.remove("/r/a")
    names = {"".join(path[-1] for path in sorted(state)) for state in states(disk)}
    assert names == {"", "a", "ab", "abc", "bc"}


def test_a_rename_between_folders_is_in_both_or_in_neither() -> None:
    disk = Disk(ROOT, "/s")
    disk.put("/r/a", b"x")
    disk.put("/r/b", b"y")
    written(disk, "/s/before", b"").sync()
    disk.rename("/r/a", "/s/a")
    disk.remove("/r/b")
    for state in states(disk):
        assert ("/r/a" in state) != ("/s/a" in state)
        assert "/s/a" not in state or "/s/before" in state
        assert "/r/b" in state or "/s/a" in state
    disk.sync_folder(folder(disk, "/r"))  # takes along what came before in the other one
    assert all(set(state) == {"/s/before", "/s/a"} for state in states(disk, 20))


def test_a_folder_whose_name_was_not_synced_takes_its_files_along() -> None:
    disk = Disk(ROOT)
    disk.add("/r/sub", Folder())
    written(disk, "/r/sub/a", b"x").sync()
    disk.sync_folder(folder(disk, "/r/sub"))
    assert {tuple(state) for state in states(disk)} == {(), ("/r/sub/a",)}


def test_two_names_of_a_file_hold_the_same_bytes() -> None:
    disk = Disk(ROOT)
    file = written(disk, "/r/a", b"x" * 3000)
    disk.add("/r/b", file)
    for state in states(disk):
        assert len(set(state.values())) <= 1


@given(
    st.lists(st.tuples(st.integers(0, 2000), st.one_of(st.none(), st.binary(min_size=1, max_size=900)))), st.integers()
)
def test_a_synced_file_is_what_programs_saw(writes: list[tuple[int, bytes | None]], seed: int) -> None:
    file = File()
    file.unsynced += writes
    before = file.whole()
    file.sync()
    assert file.after_power_cut(random.Random(seed)) == before == file.whole()
