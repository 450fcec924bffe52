"""Several decode workers: as many files are decoded at a time, and one that stalls a worker keeps no other waiting."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Protocol, Self

from edge.bundle import Bundle
from edge.config import Config
from edge.errors import StateError
from edge.imaging.decoder import Decoder
from edge.snapshot import Snapshot
from edge.values import Decoded

RESERVE = 2  # workers beside the usual ones, for as many files that take long


def open_decoder(config: Config, bundle: Bundle, site_key: bytes) -> Decoder:
    """A worker as configured, for this bundle's preprocessing; it is not started."""
    preprocessing = bundle.manifest.preprocessing
    return Decoder(preprocessing, site_key=site_key, limit_s=config.decode_limit_s, sandbox=config.sandbox)


class Decodes(Protocol):
    """What decodes: one worker, or several."""

    def decode(self, frozen: Snapshot) -> Decoded: ...


class DecodePool:
    """Thread-safe. At most `workers` files are decoded at a time, and beside them RESERVE that turned out slow.

    open_decoder: makes one that is not started. on_replaced: called when a file has undone a worker.
    """

    def __init__(
        self, open_decoder: Callable[[], Decoder], *, workers: int, on_replaced: Callable[[], None] = lambda: None
    ) -> None:
        self._open_decoder, self._workers, self._on_replaced = open_decoder, workers, on_replaced
        self._places = threading.Semaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[Decoder] = []
        self._busy: list[Decoder] = []
        self.missing: tuple[str, ...] = ()  # layers of a worker's sandbox that this kernel lacks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def threads(self) -> int:
        """How many threads may call `decode` at the same time and be served."""
        return self._workers + RESERVE

    def start(self) -> None:
        """Start one worker now. Raises StateError when it does not start as configured."""
        with self._borrowed() as decoder:
            decoder.start()
            self.missing = decoder.missing

    def decode(self, frozen: Snapshot) -> Decoded:
        """As Decoder.decode; from several threads. Raises StateError when a worker is less confined than the first."""
        with self._place() as give_up_place, self._borrowed() as decoder:
            decoded = decoder.decode(frozen, on_slow=give_up_place)
            if not set(decoder.missing) <= set(self.missing):
                lost = ", ".join(decoder.missing)
                raise StateError(
                    f"a decode worker is less confined than the first one was ({lost} missing); start again"
                )
            return decoded

    def give_up(self) -> None:
        """End what is being decoded now: those calls raise Stopped."""
        with self._lock:
            for decoder in self._busy:
                decoder.give_up()

    def close(self) -> None:
        """No call may be under way."""
        while self._idle:
            self._idle.pop().close()

    @contextlib.contextmanager
    def _place(self) -> Iterator[Callable[[], None]]:
        self._places.acquire()
        held = [True]

        def give_up() -> None:
            if held:
                held.clear()
                self._places.release()

        try:
            yield give_up
        finally:
            give_up()

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Decoder]:
        """The decoder that was used last, for its memory is warm; a new one when all are in use."""
        with self._lock:
            decoder = self._idle.pop() if self._idle else self._open_decoder()
            self._busy.append(decoder)
        ended = decoder.ended
        try:
            yield decoder
        finally:
            for _ in range(decoder.ended - ended):
                self._on_replaced()
            with self._lock:
                self._busy.remove(decoder)
                spare = len(self._idle) >= self._workers
                if not spare:
                    self._idle.append(decoder)
            if spare:
                decoder.close()
