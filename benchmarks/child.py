"""One call in a process of its own, for work that may crash, hang or leave a device unusable."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from edge.errors import EdgeError

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")
_LEAVE_S = 10.0  # for a process that has answered to end


class CallFailed(EdgeError):
    """The call raised, its process died, or it took too long; the message says which."""


def call_apart(work: Callable[[_Job], _Answer], job: _Job, *, limit_s: float) -> _Answer:
    """work(job) in a fresh interpreter; what it prints goes to stderr.

    work is a function of a module; the job and the answer can be pickled. Raises CallFailed.
    """
    context = multiprocessing.get_context("spawn")  # a fork would share CUDA's state
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(send, work, job))
    process.start()
    send.close()
    try:
        if not receive.poll(limit_s):
            process.kill()
            raise CallFailed(f"no answer within {limit_s:.0f} s")
        fault, answer = receive.recv()
    except EOFError:
        process.join(_LEAVE_S)
        raise CallFailed(f"its process died ({process.exitcode})") from None
    finally:
        receive.close()
        process.join(_LEAVE_S)
        if process.is_alive():
            process.kill()
            process.join()
    if fault is not None:
        raise CallFailed(fault)
    return answer


def _answer(send: Connection, work: Callable[[_Job], _Answer], job: _Job) -> None:
    os.dup2(2, 1)  # stdout belongs to the parent's own words
    try:
        outcome = (None, work(job))
    except Exception as fault:
        if not isinstance(fault, EdgeError | ImportError):
            traceback.print_exc()
        outcome = (why(fault), None)
    send.send(outcome)
    send.close()


def why(fault: Exception) -> str:
    """One line for a report: our own errors speak for themselves, others need their name."""
    line = next(iter(str(fault).strip().splitlines()), "no reason given")
    return line if isinstance(fault, EdgeError) else f"{type(fault).__name__}: {line}"
