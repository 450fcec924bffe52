"""The decode worker: a process of its own that turns file descriptors into ModelInputs until its link closes.

Started by decoder.py as `python -m edge.imaging.worker LINK SHARED`; the first line on stdin is its configuration
(JSON). It imports all that decoding may need, confines itself, and only then takes the first file. It gets descriptors,
never paths, and hands back only what wire.py can carry.
"""

import ctypes
import json
import os
import socket
import sys
import time

import cv2
import numpy as np

from edge.errors import Bomb, RadiographError
from edge.imaging import sandbox, wire
from edge.imaging.grey import plain_radiograph
from edge.imaging.preload import preload
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
from edge.values import Decoded

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 128 << 20
_LARGEST_KEPT_BYTES = (64 << 20, 32 << 20)  # of an array: as much as a C library allows
_ANY_PIXELS = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def main() -> None:
    link = socket.socket(fileno=int(sys.argv[-2]))
    with sys.stdin as opened:
        configuration = json.loads(opened.readline())
    parameters = Preprocessing(**configuration["preprocessing"])
    shared = wire.SharedPixels(int(sys.argv[-1]), parameters.side)
    site_key = bytes.fromhex(configuration["site_key"])
    wire.send_ready(link, prepare(parameters, confined=configuration["confined"]), parameters.digest)
    serve(link, shared, parameters, site_key)


def prepare(parameters: Preprocessing, *, confined: bool) -> list[str]:
    """Load all that is loaded late, and confine this process. Returns the layers of its sandbox that are missing."""
    cv2.setNumThreads(1)  # one core a worker; the engine needs the others
    _keep_memory()
    preload()
    preprocess(plain_radiograph(_ANY_PIXELS, sha256="", format="png", lossy=False), parameters)
    return [*sandbox.confine()] if confined else [*sandbox.Layer]


def _keep_memory() -> None:
    """A sixth of a worker's time went into memory that was given back after each file, and cleared for the next one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        any(mallopt(_MMAP_THRESHOLD, most) for most in _LARGEST_KEPT_BYTES)


def serve(link: socket.socket, shared: wire.SharedPixels, parameters: Preprocessing, site_key: bytes) -> None:
    while (request := wire.receive_request(link)) is not None:
        try:
            wire.send_decoded(link, request.number, decode(request, parameters, site_key), shared)
        except RadiographError as refusal:
            wire.send_refusal(link, request.number, refusal)
        finally:
            os.close(request.descriptor)


def decode(request: wire.Request, parameters: Preprocessing, site_key: bytes) -> Decoded:
    """Raises the RadiographError that the file earned."""
    started = time.perf_counter()
    try:
        content = os.pread(request.descriptor, request.size_bytes, 0)
        radiograph = read(content, sha256=request.sha256, site_key=site_key)
        decoded = time.perf_counter()
        model_input = preprocess(radiograph, parameters)
    except (MemoryError, cv2.error) as fault:
        if isinstance(fault, cv2.error) and fault.code != cv2.Error.StsNoMem:
            raise
        raise Bomb("the file needs more memory than a decoder may use; look at it on another machine") from None
    timings_s = {"decode": decoded - started, "preprocess": time.perf_counter() - decoded}
    return Decoded(radiograph.source, model_input, timings_s)


if __name__ == "__main__":
    main()
