"""One decode worker, confined as on the box, and what each file did to it."""

import re
import resource
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from benchmarks.fuzz.canary import holds_canary
from edge.errors import RadiographError
from edge.imaging.decoder import WORKER, Decoder
from edge.imaging.preprocess import Preprocessing
from edge.snapshot import frozen_bytes
from edge.values import Decoded

DECODED = "decoded"
SMALL = Preprocessing(side=64, framing="stretch")
SITE_KEY = bytes(range(32))
_CONFINED = re.compile(r"^(NoNewPrivs:\t1|Seccomp:\t2)$", re.MULTILINE)
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Limits:
    """What no file may take. decode_s: after so long the box gives a worker up."""

    wall_s: float = 15.0
    cpu_s: float = 10.0
    peak_bytes: int = 1_000_000_000
    decode_s: float = 15.0


@dataclass(frozen=True)
class Answer:
    """outcome: DECODED, a reason, or escaped. told: what the box would know of the file, or the fault. died: how
    workers ended over it. wrong: kinds of violations, with what was seen."""

    outcome: str
    told: str
    wall_s: float
    cpu_s: float
    peak_bytes: int
    died: tuple[str, ...]
    wrong: tuple[tuple[str, str], ...]


class Lane:
    """Files one after another through one worker, which is replaced when a file undoes it."""

    def __init__(
        self, *, limits: Limits | None = None, command: Sequence[str] = WORKER, sandbox: str = "required"
    ) -> None:
        self._limits = limits or Limits()
        self._confined = sandbox == "required"
        self._decoder = Decoder(
            SMALL, site_key=SITE_KEY, limit_s=self._limits.decode_s, command=command, sandbox=sandbox
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.close()

    def ask(self, content: bytes) -> Answer:
        self._decoder.start()
        worker, ended, before_s = self._decoder._worker, self._decoder.ended, self._cpu_s()
        assert worker is not None
        dead_before_s, started_s = _dead_cpu_s(), time.monotonic()
        outcome, told, wrong = self._decoded(content)
        wall_s = time.monotonic() - started_s
        died: tuple[str, ...] = ()
        if self._decoder.ended == ended:
            cpu_s = self._cpu_s() - before_s
            status = Path(f"/proc/{worker.pid}/status").read_text(encoding="ascii")
            peak_bytes = int(_PEAK.findall(status)[0]) * 1024
            wrong += self._of_status(status, peak_bytes)
        else:
            # The second worker's start is in it: of one that died only the order of magnitude counts.
            cpu_s, peak_bytes = _dead_cpu_s() - dead_before_s - before_s, 0
            died = (_exit(worker.returncode),) * (self._decoder.ended - ended)
        for kind, spent, most in (("hang", wall_s, self._limits.wall_s), ("cpu", cpu_s, self._limits.cpu_s)):
            if spent > most:
                wrong.append((kind, f"{spent:.2f} s"))
        if (worker.returncode or 0) > 0:
            wrong.append(("escaped", f"an exception ended the worker with {worker.returncode}"))
        return Answer(outcome, told, wall_s, max(0.0, cpu_s), peak_bytes, died, tuple(wrong))

    def _decoded(self, content: bytes) -> tuple[str, str, list[tuple[str, str]]]:
        wrong = []
        try:
            with frozen_bytes(content) as frozen:
                decoded = self._decoder.decode(frozen)
            outcome, told = DECODED, _shown(decoded)
            pixels = decoded.model_input.pixels
            if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
                wrong.append(("pixels", f"{pixels.min()} to {pixels.max()}"))
        except RadiographError as refusal:
            outcome, told = refusal.reason.value, str(refusal)
        except Exception:
            outcome, told = "escaped", traceback.format_exc()
            wrong.append(("escaped", told))
        if holds_canary(told):
            wrong.append(("leak", told))
        return outcome, told, wrong

    def _of_status(self, status: str, peak_bytes: int) -> list[tuple[str, str]]:
        wrong = []
        if self._confined and len(_CONFINED.findall(status)) != 2:
            wrong.append(("unconfined", "a worker without seccomp, or with new privileges"))
        if peak_bytes > self._limits.peak_bytes:
            wrong.append(("memory", f"{peak_bytes} bytes"))
            self._decoder.close()  # or every later file would seem to have taken it
        return wrong

    def _cpu_s(self) -> float:
        """Processor seconds of the worker so far (clock_getcpuclockid(3))."""
        pid = self._decoder.pid
        assert pid is not None
        return time.clock_gettime((~pid << 3) | 2)


def _dead_cpu_s() -> float:
    """Of the workers that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _exit(returncode: int | None) -> str:
    return f"signal {-returncode}" if returncode is not None and returncode < 0 else f"exit {returncode}"


def _shown(decoded: Decoded) -> str:
    """All that the box learns but the times, which differ from run to run."""
    checksum = float(decoded.model_input.pixels.astype(np.float64).sum())
    return f"{decoded.source} {decoded.model_input.crop} {decoded.model_input.preprocessing_digest} {checksum}"
