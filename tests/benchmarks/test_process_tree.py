"""Memory and CPU time of a process and its descendants: real ones, whose work is known."""

import subprocess
import sys
import textwrap

import pytest

from benchmarks.process_tree import descendants, usage_of

_WORK = """
import subprocess, sys, time
held = bytearray({megabytes} * 1_000_000)
until = time.process_time() + {cpu_s}
while time.process_time() < until:
    pass
"""
_GRANDCHILD = _WORK.format(megabytes=40, cpu_s=0.2) + "print('there', flush=True); sys.stdin.read()"
_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_GRANDCHILD!r}])"
_PARENT = (
    f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_WORK.format(megabytes=1, cpu_s=0.2)!r}]);"
    f"subprocess.run([sys.executable, '-c', {_CHILD!r}])"
)


def test_a_process_its_workers_and_those_that_have_ended() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(_PARENT)], **pipes) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        usage = usage_of(process.pid)
        assert usage.workers == len(list(descendants(process.pid))) == 2
        assert usage.workers_rss_bytes > 40e6 > usage.rss_bytes > 1e6
        assert usage.peak_bytes >= usage.rss_bytes
        assert usage.cpu_s >= 0.38  # of the one that ended and of the grandchild, to the clock's tick
        process.stdin.close()
    with pytest.raises(FileNotFoundError):
        usage_of(process.pid)
