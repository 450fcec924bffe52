"""What runs beside the line of stages: threads that work until they are told to end, the HTTP server, signals.

Owned by daemon.py.
"""

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator

from edge.http import Health, open_server

_POLL_S = 0.2


@contextlib.contextmanager
def beside(
    name: str,
    work: Callable[[threading.Event], None],
    on_fault: Callable[[BaseException], None],
    *,
    patience_s: float | None = None,
) -> Iterator[None]:
    """Meanwhile a thread works, until its event is set. on_fault: called with what it raises.

    patience_s: how long its end is waited for; a thread that takes longer is left, and ends with the process at the
    latest.
    """
    over = threading.Event()

    def guarded() -> None:
        try:
            work(over)
        except BaseException as fault:
            on_fault(fault)

    thread = threading.Thread(target=guarded, name=name, daemon=patience_s is not None)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(patience_s)


@contextlib.contextmanager
def serving(listen: str, exposition: Callable[[], bytes], health: Callable[[], Health]) -> Iterator[None]:
    """Meanwhile /metrics, /livez and /readyz answer; nothing does when `listen` is empty."""
    if not listen:
        yield
        return
    server = open_server(listen, exposition, health)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": _POLL_S}, name="http", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def signals(stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT stop, SIGHUP reloads; only the main thread may say so (tests run the daemon elsewhere)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    # A handler runs between any two steps of the main thread, and within another: what takes a lock there, as an Event
    # does, may wait for itself. It only notes what came; a thread does it.
    came: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
    thread = threading.Thread(target=_do_each, args=(came,), name="signals")
    thread.start()
    before = {number: signal.signal(number, lambda *_, act=act: came.put(act)) for number, act in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        came.put(None)
        thread.join()


def _do_each(came: "queue.SimpleQueue[Callable[[], None] | None]") -> None:
    while (act := came.get()) is not None:
        act()
