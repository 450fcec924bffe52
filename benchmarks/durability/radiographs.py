"""Made-up radiographs, milliseconds to decode, and how they are delivered: the truth that the proofs check against.

A file is 128 zeros, `DICM`, one line of JSON and as many bytes of pixels as the line says. Only the box of these
proofs reads it.
"""

import hashlib
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.values import Reason, case_id_of

PREAMBLE = b"\0" * 128 + b"DICM"
GOOD, TRUNCATED, GARBAGE = "good", "truncated", "garbage"
_REASONS = {GOOD: None, TRUNCATED: Reason.TRUNCATED, GARBAGE: Reason.UNREADABLE}


@dataclass(frozen=True)
class Sent:
    """One file that was delivered whole. allowed: reasons that its result may have, None for scored."""

    name: str
    content: bytes
    allowed: frozenset[str | None]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def case_id(self) -> str:
        return case_id_of(self.sha256)


def make(number: int, kind: str = GOOD, *, pixel_bytes: int = 300, instance: str | None = None) -> bytes:
    """The bytes of one radiograph. instance: what stands for its SOPInstanceUID."""
    pixels = random.Random(number).randbytes(pixel_bytes)
    if kind == GARBAGE:
        return b"no radiograph: " + pixels
    header = {"number": number, "pixel_bytes": pixel_bytes, "instance": instance}
    whole = PREAMBLE + json.dumps(header).encode() + b"\n" + pixels
    return whole[: -pixel_bytes // 2] if kind == TRUNCATED else whole


def sent(name: str, number: int, kind: str = GOOD) -> Sent:
    return Sent(name, make(number, kind), frozenset({_REASONS[kind]}))


def small_set() -> list[Sent]:
    """One of each sort: two good ones, a copy of the first, one cut short, garbage, and one SOPInstanceUID twice."""
    copy = Sent("c.dcm", make(1), frozenset({None}))
    twins = [Sent(f"{name}.dcm", make(7, instance="7") + tail, frozenset({None, Reason.DUPLICATE}))
             for name, tail in (("f", b""), ("g", b"\0"))]  # fmt: skip
    kinds = [sent("a.dcm", 1), sent("b.dcm", 2), copy, sent("d.dcm", 4, TRUNCATED), sent("e.png", 5, GARBAGE)]
    return kinds + twins


def deliver(files: Sequence[Sent], incoming: Path) -> None:
    """Put them there at once, each a millisecond younger than the one before, so that their order is known."""
    incoming.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files):
        path = incoming / file.name
        path.write_bytes(file.content)
        stamp_ns = 1_700_000_000_000_000_000 + number * 1_000_000
        os.utime(path, ns=(stamp_ns, stamp_ns))
