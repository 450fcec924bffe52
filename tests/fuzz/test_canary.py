"""Canaries are found wherever a file below a folder holds one, and in names."""

from pathlib import Path

from benchmarks.fuzz.canary import NUMBER, WORD, sightings


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_contents_and_names_are_searched(tmp_path: Path) -> None:
    write(tmp_path / "results/a.json", b"fine")
    write(tmp_path / "ledger.sqlite", b"\0" * 5000 + NUMBER.encode("utf-16-be"))
    write(tmp_path / f"archive/{WORD}.dcm", b"")
    assert {sighted.where for sighted in sightings(tmp_path)} == {"ledger.sqlite", f"archive/{WORD}.dcm"}


def test_the_senders_own_bytes_may_hold_them_and_what_stands_beside_may_not(tmp_path: Path) -> None:
    write(tmp_path / "quarantine/0123.dcm", WORD.encode())
    write(tmp_path / "quarantine/0123.reason.json", WORD.encode())
    found = [sighted.where for sighted in sightings(tmp_path, but=("quarantine",))]
    assert found == ["quarantine/0123.reason.json"]


def test_one_across_two_pieces_is_found(tmp_path: Path) -> None:
    write(tmp_path / "log", b"." * ((1 << 20) - 3) + WORD.encode())
    assert len(sightings(tmp_path)) == 1
