"""One process of atheris: the reader in it, its Python and pydicom's watched, until a file breaks it.

Started by guided.py. What is watched is imported here for the first time, or it would not be: nothing above it may.
"""

import random
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

_WATCHED = ("edge.imaging", "pydicom", "tifffile")
_HEAP_BYTES = 1_500_000_000  # a worker has less, and no record of what was covered


def main(options: Sequence[str]) -> None:
    """Does not return."""
    import atheris  # noqa: PLC0415 - an extra

    with atheris.instrument_imports(include=list(_WATCHED), enable_loader_override=False):
        from edge.errors import RadiographError  # noqa: PLC0415
        from edge.imaging.read import read  # noqa: PLC0415
    from benchmarks.fuzz.canary import holds_canary  # noqa: PLC0415
    from benchmarks.fuzz.mutate import edits_for  # noqa: PLC0415

    def mutate(content: bytes, most_bytes: int, seed: int) -> bytes:
        """Half of the time an edit that knows the format, which no blind mutation finds."""
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(content, most_bytes))
        return rng.choice(edits_for(content))(rng, content)[:most_bytes]

    def one_file(content: bytes) -> None:
        try:
            radiograph = read(content)
        except RadiographError as refusal:
            if holds_canary(str(refusal)):
                raise AssertionError(f"a header value leaks: {refusal}") from None
            return
        assert radiograph.pixels.shape == (radiograph.source.rows, radiograph.source.columns)
        assert radiograph.pixels.dtype == "uint16"

    mapped_bytes = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped_bytes + _HEAP_BYTES, resource.RLIM_INFINITY))
    atheris.Setup([sys.argv[0], *options], one_file, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
