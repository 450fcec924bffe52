"""A decode worker that does what the file tells it: a fake for test_decoder.py. Usage: mad_worker.py LOG LINK

Each request is a line in LOG, so that tries can be counted.
"""

import json
import os
import pickle
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from edge.imaging import wire
from edge.imaging.preprocess import Preprocessing
from edge.imaging.worker import decode


class Exploit:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        log = sys.argv[-2:][0]  # LOG; something else where only REPLIES are wanted
        return (os.system, (f"touch {log}.exploited",))


def framed(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(header)) + header + body


CROP = dict.fromkeys(("top", "left", "height", "width", "model_top", "model_left", "model_height", "model_width"), 1)
REPLIES = {
    b"pickle": framed(pickle.dumps(Exploit())),
    b"bare pickle": pickle.dumps(Exploit()),
    b"long header": struct.pack(">I", 1 << 31),
    b"no JSON": framed(b"{"),
    b"nested": framed(b"[" * 60000),
    b"a list": framed(b"[]"),
    b"no keys": framed(b"{}"),
    b"unknown reason": framed(b'{"reason": "bored", "detail": ""}'),
    b"a gate's reason": framed(b'{"reason": "no_lungs", "detail": ""}'),
    b"huge": framed(json.dumps({"side": 10**7, "crop": CROP}).encode()),
    b"negative": framed(json.dumps({"side": -1, "crop": CROP}).encode()),
}


def main() -> None:
    link = socket.socket(fileno=int(sys.argv[2]))
    configuration = json.loads(sys.stdin.readline())
    link.sendall(b"R")
    while (descriptor := wire.receive_request(link)) is not None:
        order = os.pread(descriptor, 40, 0)
        with Path(sys.argv[1]).open("ab") as log:
            log.write(order[:20] + b"\n")
        if order == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order == b"exit":
            sys.exit(0)
        elif order == b"stall":
            time.sleep(600)
        elif order == b"half":
            link.sendall(framed(json.dumps({"side": 8}).encode())[:-3])
            os.kill(os.getpid(), signal.SIGKILL)
        elif order in REPLIES:
            link.sendall(REPLIES[order])
            time.sleep(600)
        else:
            if order.startswith(b"shout"):
                print("CANARY^PATIENT", file=sys.stderr, flush=True)
            parameters = Preprocessing(**configuration["preprocessing"])
            wire.send_decoded(link, decode(descriptor, parameters, b""))
        os.close(descriptor)


if __name__ == "__main__":
    main()
