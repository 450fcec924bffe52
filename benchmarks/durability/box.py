"""The real daemon, once, with a fake engine and decoder; with a mutant it is broken on purpose.

Example: python -m benchmarks.durability.box incoming state --after archive
"""

import ctypes
import functools
import json
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import edge.intake
import edge.quality
from benchmarks.durability.mutants import CAUGHT_BY, become
from benchmarks.durability.room import QuickRoom
from edge.config import Config
from edge.daemon import Daemon
from edge.errors import EdgeError
from edge.log import make_logger
from edge.values import AFTER, Finding

TOLD_ON = 1  # the descriptor on which a box tells of its threads; nothing else is written there
_TRACED_WITHIN_S = 30.0
_ANY_TRACER = (0x59616D61, ctypes.c_ulong(-1))  # PR_SET_PTRACER, PR_SET_PTRACER_ANY: Yama would refuse strace


@dataclass(frozen=True)
class Order:
    """One run of the box. log: where its stderr goes. wait_in: threads that wait for strace before they begin.

    look_s: how often the inbox looks; the real half second would be most of a run.
    """

    incoming: str
    state: str
    log: str
    after: str = "keep"
    mutant: str | None = None
    once: bool = True
    wait_in: tuple[str, ...] = ()
    scan_s: float = 10.0
    unfinished_after_s: float = 60.0
    look_s: float = 0.01
    include_earlier_cases: bool = False


def run_box(order: Order) -> int:
    """The exit code that `edge-cxr watch` would have, and its last line on stderr. Changes this process for good."""
    if order.mutant is not None:
        become(order.mutant, state=Path(order.state).resolve(), after=order.after)
    _hurry(order.look_s)
    _refuse_no_picture()
    _report_threads(order)
    config = Config(
        state=order.state,
        bundle="phantom",
        after=order.after,
        listen="",
        scan_s=order.scan_s,
        unfinished_after_s=order.unfinished_after_s,
        include_earlier_cases=order.include_earlier_cases,
    )
    room: Any = QuickRoom
    try:
        Daemon(config, Path(order.incoming), once=order.once, logger=make_logger(terminal=False), open_room=room).run()
    except EdgeError as fault:
        print(f"edge-cxr: {fault}", file=sys.stderr, flush=True)
        return fault.exit_code
    except OSError as fault:  # as edge/cli.py does
        print(f"edge-cxr: {fault.strerror}; check the paths, their permissions and the disk", file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _hurry(look_s: float) -> None:
    edge.intake.Pace = functools.partial(edge.intake.Pace, look_s=look_s, still_s=10 * look_s)  # type: ignore[misc,assignment]


def _refuse_no_picture() -> None:
    """The made-up pictures are no chests."""
    edge.quality.assess = lambda decoded, prediction, gate: (Finding("lung_fraction", 0.3),)


def _report_threads(order: Order) -> None:
    """Every thread that begins says its number on stdout, and waits for strace where it was told to."""
    run = threading.Thread.run

    def begin(thread: threading.Thread) -> None:
        _begin(thread.name, order)
        run(thread)

    threading.Thread.run = begin  # type: ignore[method-assign]
    if order.wait_in:
        ctypes.CDLL(None).prctl(*_ANY_TRACER, 0, 0, 0)
    _begin("main", order)


def _begin(name: str, order: Order) -> None:
    """Only reads a file while strace comes: what is counted from then on are the box's own calls."""
    tid, waits = threading.get_native_id(), name in order.wait_in
    told = (json.dumps({"thread": name, "tid": tid, "waits": waits}) + "\n").encode()
    if not waits:
        os.write(TOLD_ON, told)
        return
    status = os.open(f"/proc/self/task/{tid}/status", os.O_RDONLY)
    os.write(TOLD_ON, told)
    deadline = time.monotonic() + _TRACED_WITHIN_S
    while b"TracerPid:\t0\n" in os.pread(status, 4096, 0):
        if time.monotonic() > deadline:
            os._exit(97)
        time.sleep(0.001)
    time.sleep(0.005)  # strace has seized the thread, and stops it a moment later
    os.close(status)


@click.command()
@click.argument("incoming")
@click.argument("state")
@click.option("--after", type=click.Choice(AFTER), default="keep", show_default=True, help="What happens to an input.")
@click.option("--mutant", type=click.Choice(sorted(CAUGHT_BY)), help="Break the box on purpose.")
@click.option("--include-earlier-cases", is_flag=True, help="Find the box's own cases as neighbours.")
def main(incoming: str, state: str, after: str, mutant: str | None, include_earlier_cases: bool) -> None:
    """Run the box once. Example: python -m benchmarks.durability.box incoming state --after archive"""
    os.dup2(2, 1)
    sys.exit(run_box(Order(incoming, state, "", after, mutant, include_earlier_cases=include_earlier_cases)))


if __name__ == "__main__":
    main()
