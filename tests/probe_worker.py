"""A decode worker with hostile code in the place of the decoder, for test_sandbox.py.

Usage: probe_worker.py [--layers NAME,...] [--lacks NAME] [--thread] LINK SHARED

A request's bytes are `<deed> <argument>`; it answers what came of it as the detail of a refusal: "done", or "denied".
"""

import argparse
import ctypes
import mmap
import os
import resource
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np

from edge.errors import Unreadable
from edge.imaging import sandbox, wire, worker
from edge.imaging.preprocess import Preprocessing
from edge.values import Decoded

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE = 0x4206
PROCESS_VM_READV = {"x86_64": 310, "aarch64": 270}[os.uname().machine]
IO_URING_SETUP = 425
_LIMITED = ~0 << 3  # this process's clock as RLIMIT_CPU reads it


def checked(outcome: int) -> None:
    if outcome < 0:
        raise OSError(ctypes.get_errno(), "denied")


def connect(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.connect(("127.0.0.1", int(address)))


def connect_by_name(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.connect(path)


def execute(path: str) -> None:
    os.execv(path, [path])


def fork(_: str) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def begin_thread(_: str) -> None:
    try:
        threading.Thread(target=int).start()
    except RuntimeError as fault:
        raise OSError(1, "denied") from fault


def trace(pid: str) -> None:
    checked(LIBC.ptrace(PTRACE_SEIZE, int(pid), None, None))


def read_memory(pid: str) -> None:
    """Of another process, wherever; only being let in counts."""
    here = ctypes.create_string_buffer(1)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(here), 1)
    checked(LIBC.syscall(PROCESS_VM_READV, int(pid), vector, 1, (ctypes.c_size_t * 2)(int(pid), 0), 0, 0))


def map_executable(_: str) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def make_executable(_: str) -> None:
    place = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(place))
    checked(LIBC.mprotect(ctypes.c_void_p(address), 4096, mmap.PROT_READ | mmap.PROT_EXEC))


def take_memory(size_bytes: str) -> None:
    try:
        np.ones(int(size_bytes), np.uint8)
    except MemoryError as fault:
        raise OSError(12, "denied") from fault


def raise_limit(_: str) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as fault:
        raise OSError(1, "denied") from fault


def burn(_: str) -> None:
    while True:
        pass


def spin(seconds: str) -> None:
    until_s = time.clock_gettime(_LIMITED) + float(seconds)
    while time.clock_gettime(_LIMITED) < until_s:
        pass


DEEDS = {
    "open": lambda path: os.close(os.open(path, os.O_RDONLY)),
    "write": lambda path: Path(path).write_bytes(b"x"),
    "list": lambda path: list(Path(path).iterdir()),
    "rename": lambda path: Path(path).rename(path + ".moved"),
    "remove": lambda path: Path(path).unlink(),
    "link": lambda path: Path(path + ".link").symlink_to(path),
    "connect": connect,
    "connect by name": connect_by_name,
    "socket": lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
    "execute": execute,
    "fork": fork,
    "thread": begin_thread,
    "kill": lambda pid: os.kill(int(pid), 0),
    "trace": trace,
    "read memory": read_memory,
    "map executable": map_executable,
    "make executable": make_executable,
    "io_uring": lambda _: checked(LIBC.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(120))),
    "memory": take_memory,
    "raise limit": raise_limit,
    "block signals": lambda _: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXCPU]),
    "memory file": lambda _: os.close(os.memfd_create("x")),
    "burn": burn,
    "spin": spin,
    "crash": lambda _: ctypes.string_at(0),
    "abort": lambda _: os.abort(),
    "exit": lambda _: os._exit(0),
}


def decode(request: wire.Request, parameters: Preprocessing, site_key: bytes) -> Decoded:
    deed, _, argument = os.pread(request.descriptor, 4096, 0).decode().partition(": ")
    try:
        DEEDS[deed](argument)
    except OSError:
        raise Unreadable("denied") from None
    raise Unreadable("done")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", default=",".join(sandbox.Layer))
    parser.add_argument("--lacks", default="")
    parser.add_argument("--thread", action="store_true")
    options, _ = parser.parse_known_args()
    if options.lacks == "landlock":
        sandbox._LANDLOCK_CREATE_RULESET = 9999  # no kernel has so many calls
    if options.lacks == "seccomp":
        sandbox._ARCHITECTURES.clear()
    if options.thread:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    confine, layers = sandbox.confine, [sandbox.Layer(name) for name in options.layers.split(",")]
    sandbox.confine = lambda: confine(layers)
    worker.decode = decode
    worker.main()


if __name__ == "__main__":
    main()
