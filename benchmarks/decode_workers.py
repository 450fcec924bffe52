"""What decode workers gain and cost: two against one on JPEG 2000, and a confined one against a free one.

python -m benchmarks.decode_workers --output benchmarks/results/decode-workers.json

  throughput  the same files through one worker and through two, in turns; the ratio of their times
  sandbox     each file through a confined worker and through a free one, in turns; the difference of their medians
  start       from nothing to a worker that can take a file
The radiographs are phantoms as lossless JPEG 2000, 12 bits, longest side 2500 pixels; the small one has 64.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pydicom.uid import JPEG2000Lossless

from benchmarks.machine import describe_machine
from edge.imaging.decode_pool import DecodePool
from edge.imaging.decoder import Decoder
from edge.imaging.preprocess import Preprocessing
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.snapshot import Snapshot, frozen_bytes

FILES, ROUNDS, PAIRS, STARTS = 12, 5, 200, 7
LARGE, SMALL = 2500, 64
_SITE_KEY = bytes(32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context(frozen_bytes(jpeg_2000(seed, LARGE))) for seed in range(FILES)]
        small = opened.enter_context(frozen_bytes(jpeg_2000(0, SMALL)))
        measured = {
            "throughput": throughput(files),
            "sandbox": {"large": sandbox(files[0], PAIRS // 10), "small": sandbox(small, PAIRS)},
            "start_s": {kind: statistics.median(start_s(kind) for _ in range(STARTS)) for kind in ("auto", "off")},
        }
    machine = describe_machine("python -m benchmarks.decode_workers")
    options.output.write_text(json.dumps({"machine": machine, **measured}, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


def jpeg_2000(seed: int, longest_side: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "phantom.dcm")
        write_dicom(render(seed, "other", longest_side=longest_side), path, transfer_syntax=JPEG2000Lossless)
        return path.read_bytes()


def decoder(kind: str) -> Decoder:
    return Decoder(Preprocessing(), site_key=_SITE_KEY, sandbox=kind)


def throughput(files: list[Snapshot]) -> dict[str, object]:
    """Seconds for all files in each round, and the median of the rounds' ratios."""
    with contextlib.ExitStack() as opened:
        pools = {n: opened.enter_context(DecodePool(partial(decoder, "auto"), workers=n)) for n in (1, 2)}
        spent_s: dict[int, list[float]] = {1: [], 2: []}
        for number in range(ROUNDS + 1):
            for workers, pool in pools.items():
                one_s = timed(partial(decode_all, pool, files, workers))
                if number:  # the first round starts the workers
                    spent_s[workers].append(one_s)
    ratios = [one / two for one, two in zip(spent_s[1], spent_s[2], strict=True)]
    return {"one_worker_s": spent_s[1], "two_workers_s": spent_s[2], "ratio": statistics.median(ratios)}


def decode_all(pool: DecodePool, files: list[Snapshot], workers: int) -> None:
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(pool.decode, files))


def sandbox(file: Snapshot, pairs: int) -> dict[str, float]:
    with decoder("auto") as confined, decoder("off") as free:
        assert confined.missing == ()
        spent_s: dict[str, list[float]] = {"confined": [], "free": []}
        for number in range(pairs + 3):
            for name, one in (("confined", confined), ("free", free)):
                one_s = timed(partial(one.decode, file))
                if number >= 3:
                    spent_s[name].append(one_s)
    medians_s = {f"{name}_s": statistics.median(times) for name, times in spent_s.items()}
    return {**medians_s, "cost_ms": 1000 * (medians_s["confined_s"] - medians_s["free_s"])}


def start_s(kind: str) -> float:
    with decoder(kind) as one:
        return timed(one.start)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
