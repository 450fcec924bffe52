"""What decoders do with damaged frames: refuse, paint something, or take the process with them.

Each damaged frame is decoded in a forked process of its own with limits on processor time and memory. Fuzzing of the
box itself is in benchmarks/fuzz; this only asks whether a decoder that is faster could be taken instead.
"""

import io
import os
import resource
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from benchmarks.child import call_apart
from benchmarks.decoding_peers import decode_with, decoders
from benchmarks.pictures import ENCODERS, bits_of, dicom_bytes, frame, stored_values
from edge.imaging.read import quiet

ROWS, COLUMNS = 96, 80
CUTS = 7  # at each eighth of a frame
CHANGED = 200
LIMIT_S = 1200.0  # of all frames of one decoder
CPU_LIMIT_S = 5
MEMORY_LIMIT_BYTES = 4 << 30  # of address space
Decode = Callable[[Dataset], NDArray[Any]]
_PICTURE, _OTHER_SHAPE, _REFUSED = 0, 1, 2  # exit codes
_ENDS = b"\xff\xd9"


@dataclass(frozen=True)
class Question:
    """One decoder and one syntax. changed: frames with bytes changed at random."""

    decoder: str
    syntax: str
    changed: int


@dataclass(frozen=True)
class Safety:
    """Counts of frames. painted_cut: of those that were cut off, gave a picture all the same. died: by a signal.

    too_long: over CPU_LIMIT_S of a processor. other_shape: gave a picture of another size than the header's.
    """

    cut: int
    changed: int
    painted_cut: int = 0
    other_shape: int = 0
    died: int = 0
    too_long: int = 0

    @property
    def safe(self) -> bool:
        """It never took its process with it, nor kept it, nor passed off part of a picture as the whole.

        What size it gives a caller can check.
        """
        return self.died == self.too_long == self.painted_cut == 0


def safeties(syntax: uid.UID, changed: int = CHANGED) -> dict[str, Safety]:
    """Of every decoder of a compressed syntax that is installed; none of an uncompressed one. Raises CallFailed."""
    if syntax not in ENCODERS:
        return {}
    return {name: call_apart(ask, Question(name, str(syntax), changed), limit_s=LIMIT_S) for name in decoders(syntax)}


def ask(question: Question) -> Safety:
    """Runs in a process that may be forked: one without other threads, see benchmarks/child.py."""
    syntax = uid.UID(question.syntax)
    bits = bits_of(syntax)
    stored = stored_values(ROWS, COLUMNS, bits=bits)
    whole = frame(stored, syntax, bits=bits)
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(stored, syntax, bits=bits)))
    decoder = partial(decode_with, question.decoder)
    cut = Counter(outcome(decoder, dataset, one) for one in cut_off(whole, syntax))
    changed = Counter(outcome(decoder, dataset, one) for one in changed_at_random(whole, question.changed))
    both = cut + changed
    return Safety(
        CUTS, question.changed, painted_cut=cut["picture"], other_shape=both["other shape"], died=both["died"],
        too_long=both["too long"],
    )  # fmt: skip


def cut_off(whole: bytes, syntax: uid.UID) -> list[bytes]:
    """Ends that are missing, with the end marker put back: what a broken transfer and a careless repair leave."""
    ends = b"" if syntax == uid.RLELossless else _ENDS
    return [whole[: len(whole) * part // (CUTS + 1)] + ends for part in range(1, CUTS + 1)]


def changed_at_random(whole: bytes, count: int) -> list[bytes]:
    """One to eight bytes of each copy, half of them in its first 200 bytes, where sizes and tables are."""
    chance = np.random.default_rng(0)
    copies = []
    for number in range(count):
        copy = bytearray(whole)
        reach = min(200, len(copy)) if number % 2 else len(copy)
        for place in chance.integers(2, reach, chance.integers(1, 9)):
            copy[place] = chance.integers(256)
        copies.append(bytes(copy))
    return copies


def outcome(decoder: Decode, dataset: Dataset, damaged: bytes) -> str:
    """`picture`, `other shape`, `refused`, `died` or `too long`."""
    child = os.fork()
    if child == 0:
        code = _REFUSED
        try:
            code = _decoded(decoder, dataset, damaged)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "too long" if os.WTERMSIG(status) == signal.SIGXCPU else "died"
    return {_PICTURE: "picture", _OTHER_SHAPE: "other shape"}.get(os.waitstatus_to_exitcode(status), "refused")


def _decoded(decoder: Decode, dataset: Dataset, damaged: bytes) -> int:
    """The exit code. Whatever a decoder raises is a refusal."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders complain
    dataset.PixelData = encapsulate([damaged])
    try:
        with quiet():
            picture = decoder(dataset)
    except Exception:
        return _REFUSED
    return _PICTURE if picture.shape == (dataset.Rows, dataset.Columns) else _OTHER_SHAPE
