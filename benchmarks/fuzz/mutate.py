"""(seed, number) -> one spoiled file, always the same: which seed of the corpus, which edits, and how many."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.fuzz import codestream_edits, dicom_edits, picture_edits
from benchmarks.fuzz.byte_edits import BYTE_EDITS, splice
from benchmarks.fuzz.seed import Seed
from edge.imaging.formats import HEAD_BYTES, sniff_format

Edit = Callable[[random.Random, bytes], bytes]
MOST_BYTES = 256 * 1024  # an edit that doubles cannot double for ever
_MOST_EDITS = 6
_SPLICED, _STRUCTURAL = 0.03, 0.7  # the share of edits that splice two files, and of the others that know the format


@dataclass(frozen=True)
class Mutant:
    """made_of: the name of its seed. edits: the names of what was done, in order."""

    number: int
    content: bytes
    made_of: str
    edits: tuple[str, ...]


def mutant(seeds: Sequence[Seed], seed: int, number: int) -> Mutant:
    """One file of a campaign. The same corpus, seed and number give the same bytes."""
    rng = random.Random(f"{seed}:{number}")
    made_of = rng.choice(seeds)
    content, done = made_of.content, []
    while not done or (len(done) < _MOST_EDITS and rng.random() < 0.45):
        if rng.random() < _SPLICED:
            content, name = splice(rng, content, rng.choice(seeds).content), "splice"
        else:
            edit = rng.choice(edits_for(content) if rng.random() < _STRUCTURAL else BYTE_EDITS)
            content, name = edit(rng, content), edit.__name__
        content = content[:MOST_BYTES]
        done.append(name)
    return Mutant(number, content, made_of.name, tuple(done))


def edits_for(content: bytes) -> Sequence[Edit]:
    """The edits that know what the file seems to be; those of bytes where it is nothing."""
    kind = sniff_format(content[:HEAD_BYTES])
    if kind == "dicom":
        # Most of its elements decide nothing; the compressed frame is where the decoders are.
        return dicom_edits.EDITS if codestream_edits.find(content) is None else _WITH_FRAME
    return _BY_FORMAT.get(kind or "", BYTE_EDITS)


_WITH_FRAME = (*dicom_edits.EDITS, *codestream_edits.EDITS, *codestream_edits.EDITS)
_BY_FORMAT: dict[str, Sequence[Edit]] = {
    "png": picture_edits.PNG_EDITS,
    "tiff": picture_edits.TIFF_EDITS,
    "jpeg": codestream_edits.EDITS,
}
