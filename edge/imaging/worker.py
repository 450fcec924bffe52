"""The decode worker: a process of its own that turns file descriptors into ModelInputs until its link closes.

Started by decoder.py as `python -m edge.imaging.worker LINK`; the first line on stdin is its configuration (JSON). It
gets descriptors, never paths, and hands back only what wire.py can carry.
"""

import json
import os
import socket
import sys
import time

import cv2

from edge.errors import RadiographError
from edge.imaging import wire
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
from edge.values import Decoded


def main() -> None:
    link = socket.socket(fileno=int(sys.argv[1]))
    configuration = json.loads(sys.stdin.readline())
    parameters = Preprocessing(**configuration["preprocessing"])
    site_key = bytes.fromhex(configuration["site_key"])
    cv2.setNumThreads(1)  # one core a worker; the engine needs the others
    link.sendall(b"R")  # ready: imports done
    while (descriptor := wire.receive_request(link)) is not None:
        try:
            wire.send_decoded(link, decode(descriptor, parameters, site_key))
        except RadiographError as refusal:
            wire.send_refusal(link, refusal)
        finally:
            os.close(descriptor)


def decode(descriptor: int, parameters: Preprocessing, site_key: bytes) -> Decoded:
    started = time.perf_counter()
    with os.fdopen(os.dup(descriptor), "rb") as opened:
        opened.seek(0)
        radiograph = read(opened.read(), site_key=site_key)
    decoded = time.perf_counter()
    model_input = preprocess(radiograph, parameters)
    timings_s = {"decode": decoded - started, "preprocess": time.perf_counter() - decoded}
    return Decoded(radiograph.source, model_input, timings_s)


if __name__ == "__main__":
    main()
