"""A child process that dies at its n-th change of a name in the file system: every state that a crash can leave."""

import os
import signal
import sys
from collections.abc import Callable

_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.link"})


def killed_at(change: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child, killed just before its n-th change, counted from 1. False: it had fewer, and was done."""
    child = os.fork()
    if child == 0:
        count = 0

        def kill_at_last(event: str, _: object) -> None:
            nonlocal count
            if event not in _CHANGES:
                return
            count += 1
            if count == change:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill_at_last)
        try:
            work()
        except BaseException as fault:
            print(repr(fault), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work failed by itself"
    return os.WIFSIGNALED(status)
