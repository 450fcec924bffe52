"""A decode worker that does what the file tells it: a fake for test_decoder.py. Usage: mad_worker.py LOG LINK SHARED

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
from typing import Any

from edge.errors import Unreadable
from edge.imaging import wire
from edge.imaging.preprocess import Preprocessing
from edge.imaging.worker import decode


class Exploit:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        log = sys.argv[-3:][0]  # LOG; something else where only REPLIES are wanted
        return (os.system, (f"touch {log}.exploited",))


def framed(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(header)) + header + body


CROP = dict.fromkeys(("top", "left", "height", "width", "model_top", "model_left", "model_height", "model_width"), 1)
SOURCE = {
    "rows": 30,
    "columns": 20,
    "pixels_sha256": "cd" * 32,
    "view_position": "AP",
    "lossy": True,
    "minor": False,
    "instance_key": "ef" * 32,
    "patient_key": None,
}
NUMBER = "00" * 16
GOOD = {"number": NUMBER, "source": SOURCE, "crop": CROP, "timings_s": {"decode": 0.25, "preprocess": 0.5}}


def altered(name: str, value: object, *, of: str = "") -> bytes:
    """A good reply but for one value."""
    reply: dict[str, Any] = json.loads(json.dumps(GOOD))
    (reply[of] if of else reply)[name] = value
    return framed(json.dumps(reply).encode())


REPLIES = {
    b"pickle": framed(pickle.dumps(Exploit())),
    b"bare pickle": pickle.dumps(Exploit()),
    b"long header": struct.pack(">I", 1 << 31),
    b"no JSON": framed(b"{"),
    b"nested": framed(b"[" * 60000),
    b"a list": framed(b"[]"),
    b"no keys": framed(b"{}"),
    b"unknown reason": framed(b'{"number": "' + NUMBER.encode() + b'", "reason": "bored", "detail": ""}'),
    b"a gate's reason": framed(b'{"number": "' + NUMBER.encode() + b'", "reason": "no_lungs", "detail": ""}'),
    b"detail of many lines": framed(b'{"number": "' + NUMBER.encode() + b'", "reason": "bomb", "detail": "one\\ntwo"}'),
    b"endless detail": framed(json.dumps({"number": NUMBER, "reason": "bomb", "detail": "x" * 501}).encode()),
    b"detail that is none": framed(b'{"number": "' + NUMBER.encode() + b'", "reason": "bomb", "detail": ["CANARY"]}'),
    b"a name for a view": altered("view_position", "CANARY^PATIENT", of="source"),
    b"a name for a key": altered("patient_key", "CANARY^PATIENT", of="source"),
    b"a name for a digest": altered("pixels_sha256", "CANARY^PATIENT", of="source"),
    b"a number for a flag": altered("minor", 1, of="source"),
    b"a flag for a number": altered("rows", True, of="source"),
    b"less than none": altered("top", -1, of="crop"),
    b"a word for a number": altered("left", "CANARY", of="crop"),
    b"no time": altered("decode", float("nan"), of="timings_s"),
    b"time runs back": altered("decode", -1.0, of="timings_s"),
    b"an endless time": altered("decode", 10**400, of="timings_s"),
    b"another's answer": altered("number", "ff" * 16),
    b"a crop beyond": altered("height", 31, of="crop"),
    b"an empty crop": altered("model_width", 0, of="crop"),
    b"a crop beyond the input": altered("model_top", 64, of="crop"),
}


def main() -> None:
    link = socket.socket(fileno=int(sys.argv[2]))
    configuration = json.loads(sys.stdin.readline())
    parameters = Preprocessing(**configuration["preprocessing"])
    shared = wire.SharedPixels(int(sys.argv[3]), parameters.side)
    wire.send_ready(link, [], parameters.digest)
    while (request := wire.receive_request(link)) is not None:
        order = os.pread(request.descriptor, 40, 0)
        with Path(sys.argv[1]).open("ab") as log:
            log.write(order[:20] + b"\n")
        if order == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order == b"exit":
            sys.exit(0)
        elif order == b"stall":
            time.sleep(600)
        elif order == b"drip":
            for byte in framed(b" " * 60000):
                link.sendall(bytes([byte]))
                time.sleep(0.2)
        elif order == b"ahead":
            wire.send_refusal(link, request.number, Unreadable("now"))
            wire.send_refusal(link, request.number, Unreadable("ahead"))
        elif order == b"half":
            link.sendall(framed(json.dumps(GOOD).encode())[:-3])
            os.kill(os.getpid(), signal.SIGKILL)
        elif order in REPLIES:
            link.sendall(REPLIES[order].replace(NUMBER.encode(), request.number.encode()))
            time.sleep(600)
        else:
            if order.startswith(b"II*\0shout"):
                print("CANARY^PATIENT", file=sys.stderr, flush=True)
            decoded = decode(request, parameters, b"")
            wire.send_decoded(link, request.number, decoded, shared)
        os.close(request.descriptor)


if __name__ == "__main__":
    main()
