"""A program of its own, run by tests: allows the system calls named in a file, refuses all others, starts a command.

    python under_filter.py CALLS COMMAND...

The filter is what systemd would load of SystemCallFilter= with SystemCallErrorNumber=EPERM, by the same libseccomp.
"""

import ctypes
import errno
import os
import sys
from pathlib import Path

_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # SCMP_ACT_ALLOW, SCMP_ACT_ERRNO
_PR_SET_NO_NEW_PRIVS = 38


def confine(calls: list[str]) -> None:
    """A name that this architecture does not have is passed over, as systemd does."""
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(_REFUSE))
    for call in calls:
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        if number >= 0 and seccomp.seccomp_rule_add(context, _ALLOW, number, 0) != 0:
            raise OSError(f"libseccomp takes no rule for {call}")
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if seccomp.seccomp_load(context) != 0:
        raise OSError("the kernel takes no filter")


if __name__ == "__main__":
    confine(Path(sys.argv[1]).read_text().split())
    os.execv(sys.argv[2], sys.argv[2:])
