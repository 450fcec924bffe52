"""Signals: what they ask for is done, however many come while it is being done."""

import signal
import subprocess
import sys
import threading

from edge.beside import signals

PATIENCE_S = 30.0
STORM = """
import os, signal, subprocess, sys, threading
from edge.beside import signals

woken, stopped = threading.Event(), threading.Event()
storm = "import os\\nfor _ in range(20_000): os.kill(os.getppid(), 1)"
with signals(stopped.set, woken.set):
    sender = subprocess.Popen([sys.executable, "-c", storm])
    while sender.poll() is None:
        woken.clear()
    assert sender.returncode == 0
    woken.clear()
    os.kill(os.getpid(), signal.SIGHUP)
    assert woken.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.wait()
"""


def test_signals_that_come_while_one_is_answered_do_not_hang_the_box() -> None:
    subprocess.run([sys.executable, "-c", STORM], timeout=PATIENCE_S, check=True)


def test_afterwards_signals_are_answered_as_before() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    threads = threading.active_count()
    with signals(lambda: None, lambda: None):
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before
    assert threading.active_count() == threads
