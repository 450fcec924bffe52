"""Confines the process that decodes: no files, no network, no other programs, bounded memory. Linux only.

`confine` is called once, after every import and before the first byte of a file. What is left to the process is to
compute, to take descriptors from its link, to read them and to answer. Knows nothing of radiographs.
"""

import ctypes
import os
import resource
import struct
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path

HEAP_BYTES = 800_000_000  # on top of what is mapped once everything is imported; the whole stays below 1 GB of memory
_DESCRIPTORS = 32

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38  # linux/prctl.h
_SECCOMP_MODE_FILTER = 2
_PAGE_BYTES = resource.getpagesize()

# linux/landlock.h. Which accesses a version of the interface can take away; all of these are.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF, _LANDLOCK_VERSION = 444, 446, 1
_FILE_ACCESSES = {1: 13, 2: 14, 3: 15, 5: 16}  # version: how many bits of access to files it knows
_NET_SINCE, _NET_ACCESSES = 4, 0b11  # TCP bind, connect
_SCOPES_SINCE, _SCOPES = 6, 0b11  # abstract sockets, signals

# linux/audit.h, linux/filter.h, linux/seccomp.h
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD_WORD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # 1: EPERM
_NUMBER_AT, _ARCHITECTURE_AT, _PROTECTION_AT = 0, 4, 32  # in struct seccomp_data; the third argument of mmap, mprotect
_X32 = 0x40000000  # x86_64's other calling convention counts its calls from here
_PROT_EXEC = 4

# All that is left: memory, the link, time. No signal can be blocked: one ends a worker that computes for too long. By
# asm/unistd.h of x86_64 and aarch64.
_CALLS = {
    "read": (0, 63),
    "close": (3, 57),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
}
_NEVER_EXECUTABLE = {"mmap": (9, 222), "mprotect": (10, 226)}


class Layer(StrEnum):
    """What a confined process has. A kernel may lack some."""

    NO_NEW_PRIVILEGES = "no_new_privileges"  # no program gives it more rights; and no core dump, no debugger
    LIMITS = "limits"  # address space, descriptors, file size
    LANDLOCK = "landlock"  # no file system, no TCP, no signals
    SECCOMP = "seccomp"  # no system call but the few above


def confine(layers: Iterable[Layer] = tuple(Layer), *, heap_bytes: int = HEAP_BYTES) -> list[Layer]:
    """Confine this process for good; it must have one thread. Returns those layers that it could not enter.

    heap_bytes: what it may map from now on.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    alone = len(list(Path("/proc/self/task").iterdir())) == 1  # Landlock binds the thread that asks, and no other
    ways: dict[Layer, Callable[[], bool]] = {
        Layer.NO_NEW_PRIVILEGES: lambda: _give_up_privileges(libc),
        Layer.LIMITS: lambda: _limit(heap_bytes),
        Layer.LANDLOCK: lambda: alone and _leave_file_system(libc),
        Layer.SECCOMP: lambda: alone and _filter_calls(libc),
    }
    return [layer for layer in layers if not ways[layer]()]


def _give_up_privileges(libc: ctypes.CDLL) -> bool:
    unprivileged = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    return libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 and unprivileged


def _limit(heap_bytes: int) -> bool:
    """The processor's time is limited file by file, from outside (decoder.py)."""
    mapped_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE_BYTES
    limits = {
        resource.RLIMIT_AS: mapped_bytes + heap_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
    }
    try:
        for limit, most in limits.items():
            resource.setrlimit(limit, (most, most))
    except (OSError, ValueError):
        return False
    return True


def _leave_file_system(libc: ctypes.CDLL) -> bool:
    """A Landlock domain without a single rule: every access that it knows is denied."""
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return False
    file_bits = max(bits for since, bits in _FILE_ACCESSES.items() if since <= version)
    words = [(1 << file_bits) - 1]
    words += [_NET_ACCESSES] if version >= _NET_SINCE else []
    words += [_SCOPES] if version >= _SCOPES_SINCE else []
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    entered = libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return bool(entered)


def _filter_calls(libc: ctypes.CDLL) -> bool:
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        return False
    steps = filter_steps(machine)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)


def filter_steps(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter as classic BPF: operation, steps to skip if true, if false, operand."""
    column = list(_ARCHITECTURES).index(machine)
    steps = [(_LOAD_WORD, 0, 0, _ARCHITECTURE_AT), (_IF_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL)]
    steps += [(_LOAD_WORD, 0, 0, _NUMBER_AT), (_IF_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for numbers in _CALLS.values():
        steps += [(_IF_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
    for numbers in _NEVER_EXECUTABLE.values():
        steps += [(_IF_EQUAL, 0, 4, numbers[column]), (_LOAD_WORD, 0, 0, _PROTECTION_AT)]
        steps += [(_IF_ANY_BIT, 0, 1, _PROT_EXEC), (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return [*steps, (_RETURN, 0, 0, _REFUSE)]
