"""Hostile code in the place of the decoder: what a confined worker cannot do, and can where the sandbox is off."""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.errors import Bomb, DecoderDied, StateError, Unreadable
from edge.imaging.decoder import Decoder
from edge.imaging.preprocess import Preprocessing
from edge.imaging.sandbox import HEAP_BYTES, Layer, filter_steps
from edge.snapshot import frozen_bytes

PARAMETERS = Preprocessing(side=64, framing="stretch")
PROBE = Path(__file__).parents[1] / "probe_worker.py"


def probe(*options: str, sandbox: str = "auto", limit_s: float = 60) -> Decoder:
    command = [sys.executable, str(PROBE), *options]
    return Decoder(PARAMETERS, site_key=bytes(32), sandbox=sandbox, limit_s=limit_s, command=command)


def attempt(decoder: Decoder, deed: str, argument: object = "") -> str:
    with frozen_bytes(f"{deed}: {argument}".encode()) as frozen, pytest.raises(Unreadable) as answer:
        decoder.decode(frozen)
    return str(answer.value)


@pytest.fixture(scope="module")
def confined() -> Iterator[Decoder]:
    with probe() as opened:
        opened.start()
        assert opened.missing == ()
        yield opened


@contextmanager
def deeds(folder: Path) -> Iterator[dict[str, object]]:
    """What is tried, and on what."""
    for name in ("read.txt", "rename.txt", "remove.txt", "link.txt"):
        (folder / name).write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as named:
        named.bind(str(folder / "named"))
        named.listen()
        yield {
            "open": folder / "read.txt",
            "write": folder / "written.txt",
            "list": folder,
            "rename": folder / "rename.txt",
            "remove": folder / "remove.txt",
            "link": folder / "link.txt",
            "connect": server.getsockname()[1],
            "connect by name": folder / "named",
            "socket": "",
            "fork": "",
            "thread": "",
            "kill": os.getpid(),
            "trace": os.getpid(),
            "block signals": "",
            "map executable": "",
            "make executable": "",
            "memory": HEAP_BYTES + 100_000_000,
            "raise limit": "",
            "memory file": "",
        }


def test_hostile_code_in_a_worker_is_denied_everything(confined: Decoder, tmp_path: Path) -> None:
    with deeds(tmp_path) as tried:
        assert {deed: attempt(confined, deed, on) for deed, on in tried.items()} == dict.fromkeys(tried, "denied")
    assert attempt(confined, "read memory", os.getpid()) == "denied"
    assert attempt(confined, "io_uring") == "denied"
    assert attempt(confined, "execute", "/bin/true") == "denied"
    assert not (tmp_path / "written.txt").exists()
    assert attempt(confined, "memory", HEAP_BYTES // 2) == "done"


def test_without_the_sandbox_it_can_do_all_of_it(tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    with probe(sandbox="off") as loose, deeds(tmp_path) as tried:
        if os.geteuid() != 0:
            tried.pop("trace")  # the kernel may forbid it to an unprivileged process anyway
        assert {deed: attempt(loose, deed, on) for deed, on in tried.items()} == dict.fromkeys(tried, "done")
        assert loose.missing == tuple(Layer)
    assert (tmp_path / "written.txt").exists()


@pytest.mark.parametrize(
    ("layer", "denied", "done"),
    [
        ("landlock", ("open", "write", "list", "connect", "kill", "trace"), ("fork", "socket", "memory")),
        ("seccomp", ("open", "write", "connect", "kill", "trace", "fork", "thread", "map executable"), ("memory",)),
        ("limits", ("memory",), ("open", "connect", "fork")),
    ],
)
def test_each_layer_alone_denies_its_part(
    tmp_path: Path, layer: str, denied: Sequence[str], done: Sequence[str]
) -> None:
    """So that one still stands where another has a hole. An unprivileged user needs the first for the others."""
    with probe("--layers", f"no_new_privileges,{layer}") as decoder, deeds(tmp_path) as tried:
        assert {deed: attempt(decoder, deed, tried[deed]) for deed in denied} == dict.fromkeys(denied, "denied")
        assert {deed: attempt(decoder, deed, tried[deed]) for deed in done} == dict.fromkeys(done, "done")


@pytest.mark.parametrize("layer", ["landlock", "seccomp"])
def test_a_kernel_that_lacks_a_layer_is_told_or_refused(layer: str) -> None:
    with probe("--lacks", layer) as decoder:
        decoder.start()
        assert decoder.missing == (layer,)
    with probe("--lacks", layer, sandbox="required") as decoder, pytest.raises(StateError, match=f"{layer} missing"):
        decoder.start()


def test_a_second_thread_would_stay_outside_and_is_told() -> None:
    with probe("--thread") as decoder:
        decoder.start()
        assert decoder.missing == ("landlock", "seccomp")


def test_a_file_that_uses_up_the_processor_is_a_bomb_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.imaging.worker_process.CPU_LIMIT_S", 1)
    with probe() as decoder, frozen_bytes(b"burn: ") as frozen:
        with pytest.raises(Bomb, match="of a processor"):
            decoder.decode(frozen)
        assert decoder.ended == 1
        assert attempt(decoder, "memory", 1) == "done"  # with a new worker


def test_time_spent_on_earlier_files_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.imaging.worker_process.CPU_LIMIT_S", 1)
    with probe() as decoder:
        for _ in range(5):
            assert attempt(decoder, "spin", 0.7) == "done"
        assert decoder.ended == 0


@pytest.mark.parametrize("deed", ["crash", "abort", "exit"])
def test_a_worker_that_crashes_costs_one_file(confined: Decoder, deed: str) -> None:
    with frozen_bytes(f"{deed}: ".encode()) as frozen, pytest.raises(DecoderDied):
        confined.decode(frozen)
    assert attempt(confined, "memory", 1) == "done"


def test_the_filter_refuses_what_it_does_not_know() -> None:
    """On both machines; only one of them can be run here."""
    for machine in ("x86_64", "aarch64"):
        steps = filter_steps(machine)
        assert steps[-1] == (0x06, 0, 0, 0x00050001)
        assert all(at + 1 + max(jump, other) < len(steps) for at, (_, jump, other, _) in enumerate(steps[:-1]))
