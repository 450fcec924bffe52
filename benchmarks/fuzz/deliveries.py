"""How a hostile sender fills the folder: names meant to hurt, what is no file, and what changes while looked at."""

import contextlib
import hashlib
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fuzz.canary import NUMBER, WORD
from benchmarks.fuzz.dicom_files import chest, dicom_file, phantom
from benchmarks.fuzz.mutate import Mutant

_NAMES = (
    b"%d.dcm", WORD.encode() + b"^%d.dcm", NUMBER.encode() + b"-%d",
    b"line\nfeed-" + WORD.encode() + b"-%d", b"\r\x1b[2J%d", b"\xff\xfe\x80-%d.dcm", b"\xed\xa0\x80%d",
    b"-rf %d", b"--state=%d", b"x..%d", b"$(touch pwned)%d",
    b"`id`%d",
    b"';DROP TABLE cases;--%d", b"%d.json", b"ledger.sqlite-%d", b"%%s%%n%%x%d", b'{"event": "x"}%d',
    b"A" * 240 + b"%d", b" %d ", "山田-%d.dcm".encode(), b"\xe2\x80\xae%d.dcm", b"0123456789abcdef.json.%d",
    b"%d.dcm.exe", b"<script>%d",
)  # fmt: skip
_FOLDERS = (b".", b".", b".", b"study", WORD.encode() + b"^FOLDER", b"deep/er/and\n/deeper", b"\xff\xfe")


@dataclass(frozen=True)
class Secret:
    """A radiograph outside the folder that no trick may get a result for."""

    folder: Path
    path: Path
    sha256: str


@dataclass
class Wave:
    """owed: digests that must get a result, and no others may. traps: paths of what is no file."""

    owed: set[str] = field(default_factory=set)
    traps: list[Path] = field(default_factory=list)


def make_secret(folder: Path) -> Secret:
    folder.mkdir(parents=True, exist_ok=True)
    content = dicom_file(chest(phantom(), SOPInstanceUID=f"2.25.{NUMBER}999", PatientName=f"{WORD}^SECRET"))
    (folder / "secret.dcm").write_bytes(content)
    return Secret(folder, folder / "secret.dcm", hashlib.sha256(content).hexdigest())


def deliver(mutants: Sequence[Mutant], incoming: Path, aside: Path, rng: random.Random, wave: Wave) -> None:
    """Under hostile names, renamed into place, written there, or linked and unlinked."""
    for each in mutants:
        folder = incoming / os.fsdecode(rng.choice(_FOLDERS))
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / os.fsdecode(rng.choice(_NAMES) % each.number)
        rng.choice((_renamed, _renamed, _in_place, _linked))(each.content, aside / "next", target)
        wave.owed.add(hashlib.sha256(each.content).hexdigest())


def _renamed(content: bytes, aside: Path, target: Path) -> None:
    aside.write_bytes(content)
    aside.rename(target)


def _in_place(content: bytes, aside: Path, target: Path) -> None:
    target.write_bytes(content)


def _linked(content: bytes, aside: Path, target: Path) -> None:
    aside.write_bytes(content)
    target.hardlink_to(aside)
    aside.unlink()


def set_traps(incoming: Path, secret: Secret, rng: random.Random, wave: Wave) -> None:
    """Links, pipes, sockets and folders where files are looked for; a hidden name as the box itself gives them."""
    tag = f"{rng.randrange(1 << 30):08x}"
    traps: dict[str, Callable[[Path], None]] = {
        "link-{}.dcm": lambda path: path.symlink_to(secret.path),
        "link-to-folder-{}": lambda path: path.symlink_to(secret.folder),
        "nowhere-{}.dcm": lambda path: path.symlink_to(f"/nowhere/{WORD}"),
        "loop-{}": lambda path: path.symlink_to(path),
        "environment-{}": lambda path: path.symlink_to("/proc/self/environ"),
        "pipe-{}.dcm": os.mkfifo,
        "socket-{}.dcm": _make_socket,
        "folder-{}.dcm": Path.mkdir,
        "second-name-{}.dcm": lambda path: path.hardlink_to(secret.path),
        ".edge-cxr-0123456789abcdef-{}": lambda path: path.symlink_to(secret.path),
    }
    for name, make in traps.items():
        path = incoming / name.format(tag)
        make(path)
        wave.traps.append(path)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def take_traps(wave: Wave) -> None:
    for path in wave.traps:
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()


@contextlib.contextmanager
def races(incoming: Path, aside: Path, secret: Secret, number: int, wave: Wave) -> Iterator[None]:
    """Meanwhile threads swap a file for a link to the secret, for a pipe, and a folder for a link to the secret's."""
    stop = threading.Event()
    threads = []
    for kind in (_link_for_file, _pipe_for_file, _folder_for_link):
        place = incoming / f"race-{kind.__name__}-{number}"
        content = dicom_file(chest(phantom(), SOPInstanceUID=f"2.25.{NUMBER}77{number}{len(threads)}"))
        threads.append(threading.Thread(target=kind, args=(place, aside / place.name, content, secret, stop)))
        wave.owed.add(hashlib.sha256(content).hexdigest())
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _link_for_file(place: Path, aside: Path, content: bytes, secret: Secret, stop: threading.Event) -> None:
    while not stop.wait(0.001):
        aside.write_bytes(content)
        aside.rename(place)
        aside.symlink_to(secret.path)
        aside.rename(place)
    aside.write_bytes(content)
    aside.rename(place)


def _pipe_for_file(place: Path, aside: Path, content: bytes, secret: Secret, stop: threading.Event) -> None:
    while not stop.wait(0.001):
        aside.write_bytes(content)
        aside.rename(place)
        os.mkfifo(aside)
        aside.rename(place)
    aside.write_bytes(content)
    aside.rename(place)


def _folder_for_link(place: Path, aside: Path, content: bytes, secret: Secret, stop: threading.Event) -> None:
    place.mkdir(exist_ok=True)
    while not stop.wait(0.001):
        (place / secret.path.name).write_bytes(content)
        place.rename(aside)
        place.symlink_to(secret.folder)
        place.unlink()
        aside.rename(place)
    (place / secret.path.name).write_bytes(content)
