"""The decode worker: the same result as in this process, and a box that survives whatever a file does to it."""

import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from radiograph_files import chest, dicom_file, phantom_pixels

from edge.errors import DecoderDied, NotARadiograph, NotFrontalChest, StateError, Truncated, Unreadable
from edge.imaging.decoder import TRIES, Decoder
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
from edge.snapshot import snapshot
from edge.values import Decoded

SITE_KEY = bytes(range(32))
PARAMETERS = Preprocessing(side=256, framing="stretch")
CHEST = dicom_file(chest(phantom_pixels(), bits_stored=12))
MAD_WORKER = Path(__file__).parents[1] / "mad_worker.py"
SHORT_S = 1.0


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(PARAMETERS, site_key=SITE_KEY) as opened:
        yield opened


def decode(decoder: Decoder, content: bytes, folder: Path) -> Decoded:
    path = folder / "file"
    path.write_bytes(content)
    with snapshot(path) as frozen:
        return decoder.decode(frozen)


def worker_pids() -> set[int]:
    """Workers are this process's only children."""
    children = Path("/proc/self/task").glob("*/children")
    return {int(pid) for listed in children for pid in listed.read_text().split()}


def started_worker(decoder: Decoder) -> int:
    before = worker_pids()
    decoder.start()
    (worker,) = worker_pids() - before
    return worker


def test_a_worker_answers_as_this_process_does(decoder: Decoder, tmp_path: Path) -> None:
    decoded = decode(decoder, CHEST, tmp_path)
    radiograph = read(CHEST, site_key=SITE_KEY)
    model_input = preprocess(radiograph, PARAMETERS)
    assert decoded.source == radiograph.source
    assert decoded.model_input.crop == model_input.crop
    assert decoded.model_input.preprocessing_digest == PARAMETERS.digest
    assert decoded.model_input.pixels.dtype == np.float32
    np.testing.assert_array_equal(decoded.model_input.pixels, model_input.pixels)
    assert decoded.timings_s.keys() == {"decode", "preprocess"}
    assert all(spent_s >= 0 for spent_s in decoded.timings_s.values())


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"hello", Unreadable, "neither DICOM, PNG, JPEG nor TIFF"),
        (CHEST[:-100], Truncated, "ends inside"),
        (dicom_file(chest(phantom_pixels(), Modality="CT")), NotARadiograph, "the modality is CT"),
        (
            dicom_file(chest(phantom_pixels(), ViewPosition="LL")),
            NotFrontalChest,
            "the view in the header is not frontal",
        ),
    ],
    ids=["text", "short", "CT", "lateral"],
)
def test_refusals_come_back(
    decoder: Decoder, tmp_path: Path, content: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        decode(decoder, content, tmp_path)


def test_one_worker_serves_many_files(decoder: Decoder, tmp_path: Path) -> None:
    decoder.close()
    started_worker(decoder)
    workers = worker_pids()
    for _ in range(20):  # it may have 32 descriptors
        with pytest.raises(Unreadable):
            decode(decoder, b"hello", tmp_path)
        decode(decoder, CHEST, tmp_path)
    assert worker_pids() == workers


def test_a_worker_that_is_killed_between_files_is_replaced(tmp_path: Path) -> None:
    with Decoder(PARAMETERS, site_key=SITE_KEY) as decoder:
        worker = started_worker(decoder)
        os.kill(worker, signal.SIGKILL)
        assert decode(decoder, CHEST, tmp_path).source.format == "dicom"
        assert worker not in worker_pids()


def test_a_stopped_worker_is_replaced(tmp_path: Path) -> None:
    with Decoder(PARAMETERS, site_key=SITE_KEY, limit_s=SHORT_S) as decoder:
        worker = started_worker(decoder)
        os.kill(worker, signal.SIGSTOP)
        started = time.monotonic()
        assert decode(decoder, CHEST, tmp_path).source.format == "dicom"
        assert time.monotonic() - started >= SHORT_S
        assert worker not in worker_pids()


def test_closing_ends_the_worker_and_a_later_file_starts_another(tmp_path: Path) -> None:
    with closing(Decoder(PARAMETERS, site_key=SITE_KEY)) as decoder:
        others = worker_pids()
        assert started_worker(decoder) not in others
        decoder.close()
        assert worker_pids() == others
        decoder.close()
        assert decode(decoder, CHEST, tmp_path).source.format == "dicom"


def test_a_worker_that_does_not_start_is_a_fault_of_the_box() -> None:
    with Decoder(PARAMETERS, site_key=SITE_KEY, command=["false"]) as decoder, pytest.raises(StateError, match="start"):
        decoder.start()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def mad(log: Path) -> Iterator[Decoder]:
    command = [sys.executable, str(MAD_WORKER), str(log)]
    with Decoder(PARAMETERS, site_key=SITE_KEY, limit_s=SHORT_S, command=command) as opened:
        yield opened


@pytest.mark.parametrize("order", ["die", "half", "stall", "pickle", "a name for a view", "drip"])
def test_a_file_that_undoes_the_worker_is_tried_twice_and_the_next_one_works(
    mad: Decoder, log: Path, tmp_path: Path, order: str
) -> None:
    with pytest.raises(DecoderDied, match="2 times"):
        decode(mad, order.encode(), tmp_path)
    assert log.read_text().split("\n") == [order] * TRIES + [""]
    assert not log.with_name("log.exploited").exists()
    assert decode(mad, CHEST, tmp_path).source.format == "dicom"


def test_what_a_worker_says_unasked_is_not_taken_for_the_next_answer(mad: Decoder, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="now"):
        decode(mad, b"ahead", tmp_path)
    assert decode(mad, CHEST, tmp_path).source.format == "dicom"


def test_a_worker_of_another_version_is_a_fault_of_the_box(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As after an upgrade under a running daemon: no file is blamed for it."""
    monkeypatch.setattr(Preprocessing, "digest", "ab" * 32)
    with Decoder(PARAMETERS, site_key=SITE_KEY) as decoder, pytest.raises(StateError, match="start it again"):
        decode(decoder, CHEST, tmp_path)


@pytest.mark.parametrize("most", ["processor", "descriptors"])
def test_limits_of_the_box_itself_are_no_fault_of_a_file(tmp_path: Path, most: str) -> None:
    """A finite limit that the service has, and more descriptors than select(2) can count."""
    (tmp_path / "chest.dcm").write_bytes(CHEST)
    script = f"""
import os, resource, sys
from pathlib import Path
from edge.imaging.decoder import Decoder
from edge.imaging.preprocess import Preprocessing
from edge.snapshot import snapshot
if {most!r} == "processor":
    resource.setrlimit(resource.RLIMIT_CPU, (600, 600))
else:
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))
    kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
chest = Path({str(tmp_path / "chest.dcm")!r})
with Decoder(Preprocessing(side=64), site_key=bytes(32)) as decoder, snapshot(chest) as frozen:
    print(decoder.decode(frozen).source.format)
"""
    drop = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"] if os.geteuid() == 0 else []
    done = subprocess.run([*drop, sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "dicom\n", done.stderr


def test_what_a_worker_says_aloud_reaches_no_log(
    mad: Decoder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A decoder's complaint may quote a header."""
    assert decode(mad, b"II*\0shout" + CHEST[9:], tmp_path).source.format == "dicom"
    captured = capfd.readouterr()
    assert captured.err == ""


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person may watch the folder they stand in: a sender's json.py must not run."""
    for module in ("json.py", "imagecodecs.py", "cv2.py"):
        (tmp_path / module).write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    with Decoder(PARAMETERS, site_key=SITE_KEY) as decoder:
        assert decode(decoder, CHEST, tmp_path).source.format == "dicom"


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library keeps memory, or not, by its own rules"
)
@pytest.mark.parametrize("side", [1500, 3500])
def test_a_worker_takes_no_new_memory_for_a_file_like_the_last_one(side: int, tmp_path: Path) -> None:
    content = dicom_file(chest(cv2.resize(phantom_pixels(), (side, side)), bits_stored=12))
    page_bytes = resource.getpagesize()
    with Decoder(PARAMETERS, site_key=SITE_KEY) as decoder:
        for _ in range(2):
            decode(decoder, content, tmp_path)
        before = page_faults(decoder)
        decode(decoder, content, tmp_path)
        assert (page_faults(decoder) - before) * page_bytes < len(content) / 10


def page_faults(decoder: Decoder) -> int:
    """Of its worker since it was started, without those that a disk was read for (proc(5), minflt)."""
    stat = Path(f"/proc/{decoder.pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[7])
