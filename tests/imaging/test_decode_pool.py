"""Several workers: as many at a time as there are places, and a file that stalls one keeps no other waiting."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from radiograph_files import chest, dicom_file, phantom_pixels

from edge.errors import DecoderDied, Unreadable
from edge.imaging.decode_pool import RESERVE, DecodePool
from edge.imaging.decoder import Decoder
from edge.imaging.preprocess import Preprocessing
from edge.snapshot import Snapshot, frozen_bytes
from edge.values import Decoded

PATIENCE_S = 60
PARAMETERS = Preprocessing(side=64, framing="stretch")
PROBE = Path(__file__).parents[1] / "probe_worker.py"
CHEST = dicom_file(chest(phantom_pixels(), bits_stored=12))


class Slow(Decoder):
    """Answers when it is told to; says at once that it is slow where the file says so."""

    made: list["Slow"]
    gates: dict[bytes, threading.Event]
    begun: "threading.Semaphore"

    def decode(self, frozen: Snapshot, *, on_slow: Callable[[], None] = lambda: None) -> Decoded:
        word = Path(f"/proc/self/fd/{frozen.descriptor}").read_bytes()
        if word.startswith(b"slow"):
            on_slow()
            on_slow()  # a second time changes nothing
        self.begun.release()
        assert self.gates.setdefault(word, threading.Event()).wait(PATIENCE_S)
        raise Unreadable(word.decode())


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    Slow.made, Slow.gates, Slow.begun = [], {}, threading.Semaphore(0)

    def made() -> Decoder:
        Slow.made.append(Slow(PARAMETERS, site_key=bytes(32)))
        return Slow.made[-1]

    with DecodePool(made, workers=2) as opened:
        yield opened
        for gate in Slow.gates.values():
            gate.set()


def ask(pool: DecodePool, word: bytes) -> str:
    with frozen_bytes(word) as frozen, pytest.raises(Unreadable) as answer:
        pool.decode(frozen)
    return str(answer.value)


def begun(count: int) -> None:
    for _ in range(count):
        assert Slow.begun.acquire(timeout=PATIENCE_S)


def test_no_more_are_decoded_at_a_time_than_there_are_places(pool: DecodePool) -> None:
    with ThreadPoolExecutor(pool.threads) as threads:
        asked = [threads.submit(ask, pool, word) for word in (b"a", b"b", b"c")]
        begun(2)
        assert not Slow.begun.acquire(timeout=0.3)  # the third waits
        assert len(Slow.made) == 2
        for word in (b"a", b"b", b"c"):
            Slow.gates.setdefault(word, threading.Event()).set()
        assert [answer.result(PATIENCE_S) for answer in asked] == ["a", "b", "c"]
    assert len(Slow.made) == 2


def test_a_slow_one_gives_its_place_up(pool: DecodePool) -> None:
    with ThreadPoolExecutor(pool.threads) as threads:
        slow = [threads.submit(ask, pool, word) for word in (b"slow 1", b"slow 2")]
        begun(2)
        quick: list[Future[str]] = []
        for number in range(3):
            word = b"quick %d" % number
            Slow.gates[word] = threading.Event()
            Slow.gates[word].set()
            quick.append(threads.submit(ask, pool, word))
        assert [answer.result(PATIENCE_S) for answer in quick] == ["quick 0", "quick 1", "quick 2"]
        assert not any(answer.done() for answer in slow)
        for word in (b"slow 1", b"slow 2"):
            Slow.gates[word].set()
        assert [answer.result(PATIENCE_S) for answer in slow] == ["slow 1", "slow 2"]
    assert len(Slow.made) <= 2 + RESERVE
    with ThreadPoolExecutor(3) as threads:  # and takes none twice: there are two places, not four
        asked = [threads.submit(ask, pool, word) for word in (b"x", b"y", b"z")]
        begun(3 + 2)  # the quick ones too
        assert not Slow.begun.acquire(timeout=0.3)
        for word in (b"x", b"y", b"z"):
            Slow.gates.setdefault(word, threading.Event()).set()
        for answer in asked:
            answer.result(PATIENCE_S)


def test_real_workers_answer_side_by_side_and_the_undone_are_counted() -> None:
    replaced: list[None] = []
    command = [sys.executable, str(PROBE)]

    def probe() -> Decoder:
        return Decoder(PARAMETERS, site_key=bytes(32), command=command)

    def crash() -> None:
        with frozen_bytes(b"exit: ") as frozen, pytest.raises(DecoderDied):
            pool.decode(frozen)

    with DecodePool(probe, workers=2, on_replaced=lambda: replaced.append(None)) as pool:
        pool.start()
        assert pool.missing == ()
        with ThreadPoolExecutor(2) as threads:
            crashed, denied = threads.submit(crash), threads.submit(ask, pool, b"fork: ")
            crashed.result(PATIENCE_S)
            assert denied.result(PATIENCE_S) == "denied"
    assert len(replaced) == 2  # both tries


def test_a_pool_of_real_workers_decodes() -> None:
    with DecodePool(lambda: Decoder(PARAMETERS, site_key=bytes(32)), workers=1) as pool, frozen_bytes(CHEST) as frozen:
        assert pool.decode(frozen).source.format == "dicom"
