"""Reaction time: from the rename of a file to its whole result, each radiograph once; refusals and deaths are told."""

import hashlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import reaction
from benchmarks.backlog import FILLED, measure_backlog
from benchmarks.daemon_process import DaemonProcess
from benchmarks.process_tree import Usage
from benchmarks.reaction import Arrivals, Sent, gaps_s, lay_aside, lay_known, measure_reaction, overlapping
from benchmarks.spread import spread_of
from benchmarks.throughput import EngineRow
from edge.errors import EdgeError
from edge.phantom import render
from edge.phantom_dicom import write_dicom

SLOW_S = 0.05  # of the fake box, from half a result to a whole one
FEW = Arrivals(rate_per_s=50, runs=6, warm_up=2, idle_s=0.05)


class FakeBox:
    """A process that does nothing, and a thread that answers for it: half a result first, the whole SLOW_S later."""

    def __init__(self, root: Path, process: subprocess.Popen[bytes], **told: Any) -> None:
        self._told = {"status": "scored", "reason": None, "detail": None, "timings_s": {"infer": 0.01}, **told}
        for name in ("incoming", "results", "aside"):
            (root / name).mkdir()
        (root / "log").write_text("the last words\n")
        self.daemon = DaemonProcess(process, root / "incoming", root / "results", root / "log", 1.5)
        self.aside, self.answered, self.over = root / "aside", list[str](), threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.001):
            for path in sorted(self.daemon.incoming.iterdir()):
                case_id = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
                half = self.daemon.results / f".{case_id}.json.part"
                half.write_text("{")
                time.sleep(SLOW_S)
                half.write_text(json.dumps(self._told))
                path.unlink()
                half.rename(half.with_name(f"{case_id}.json"))
                self.answered.append(case_id)


@pytest.fixture
def idle_process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("one") / "chest.dcm"
    write_dicom(render(1, "covid", longest_side=64), path)
    return path.read_bytes()


def measured(box: FakeBox, radiograph: bytes, arrivals: Arrivals = FEW) -> reaction.Reaction:
    thread = threading.Thread(target=box.run)
    thread.start()
    try:
        return measure_reaction(box.daemon, [radiograph], arrivals, box.aside)
    finally:
        box.over.set()
        thread.join()


def test_from_rename_to_whole_result(tmp_path: Path, idle_process: subprocess.Popen[bytes], radiograph: bytes) -> None:
    box = FakeBox(tmp_path, idle_process)
    told = measured(box, radiograph)
    assert len(set(box.answered)) == 8  # each is new to the box
    assert told.reaction.count == told.infer.count == told.besides_infer.count == 6
    assert told.reaction.min_s >= SLOW_S  # half a result is none
    assert told.infer.max_s == told.infer.min_s == 0.01
    assert told.besides_infer.median_s == pytest.approx(told.reaction.median_s - 0.01)
    assert told.reaction.max_s > 2 * SLOW_S  # five or more came while others waited, for the gaps are shorter
    assert told.overlapped >= 3
    assert (told.start_s, told.known_files, told.idle_cpu_share) == (1.5, 0, 0.0)
    assert told.filesystem != "unknown"


def test_a_backlog_is_measured_from_result_to_result(
    tmp_path: Path, idle_process: subprocess.Popen[bytes], radiograph: bytes
) -> None:
    """The process does nothing, so that the whole of its CPU time may be the engine's."""
    box = FakeBox(tmp_path, idle_process)
    files = [lay_aside(radiograph, number, box.aside) for number in range(FILLED + 4)]
    alone = EngineRow(1, 1, spread_of([0.1] * 3), 10.0, 10.0, cpu_s=0.2)
    thread = threading.Thread(target=box.run)
    thread.start()
    try:
        told = measure_backlog(box.daemon, files, alone, shares_cores=True)
    finally:
        box.over.set()
        thread.join()
    assert len(set(box.answered)) == told.radiographs == FILLED + 4
    assert 0 < told.radiographs_per_s <= 1.1 / SLOW_S  # one after the other
    assert (told.cpu_s, told.reachable_per_s) == (0.0, 10.0)
    assert told.share == pytest.approx(told.radiographs_per_s / 10)


@pytest.mark.parametrize(("cpu_s", "shares_cores", "reachable"), [(0.2, True, 10), (0.25, True, 8), (0.25, False, 10)])
def test_what_shares_the_cores_with_the_engine_lowers_what_can_be_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpu_s: float, shares_cores: bool, reachable: float
) -> None:
    """One each fifth of a second once the queues are full; before that they come at once."""
    count = FILLED + 5
    used = iter((Usage(0, 0, 0, 0, 5.0), Usage(0, 0, 0, 0, 5.0 + count * cpu_s)))
    box = SimpleNamespace(usage=lambda: next(used), results=tmp_path)
    sent = [Sent(str(number), 0.0, max(0.0, (number - FILLED + 1) / 5)) for number in range(count)]
    for one in sent:
        (tmp_path / f"{one.case_id}.json").write_text('{"status": "scored", "timings_s": {"infer": 0.1}}')
    monkeypatch.setattr("benchmarks.backlog.send", lambda *asked: sent)
    alone = EngineRow(1, 1, spread_of([0.1] * 3), 10.0, 10.0, cpu_s=0.2)
    told = measure_backlog(box, [], alone, shares_cores=shares_cores)  # type: ignore[arg-type]
    assert (told.radiographs_per_s, told.reachable_per_s) == (pytest.approx(5), pytest.approx(reachable))
    assert told.share == pytest.approx(5 / reachable)


def test_while_results_come_nothing_behind_them_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time.monotonic()
    reaction._require_in_time({"a": now_s - 500, "b": now_s - 500}, {"a": now_s - 1})
    with pytest.raises(EdgeError, match="no result within 120 s"):
        reaction._require_in_time({"a": now_s - 500, "b": now_s - 500}, {"a": now_s - 200})


def test_a_refusal_is_no_reaction(tmp_path: Path, idle_process: subprocess.Popen[bytes], radiograph: bytes) -> None:
    box = FakeBox(tmp_path, idle_process, status="not_scored", reason="no_lungs", detail="look at it")
    with pytest.raises(EdgeError, match=r"not scored \(no_lungs: look at it\)"):
        measured(box, radiograph)


def test_a_box_that_never_answers_or_dies_is_told(
    tmp_path: Path, idle_process: subprocess.Popen[bytes], radiograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaction, "RESULT_WITHIN_S", 0.05)
    monkeypatch.setattr(reaction, "_LOOK_EACH_S", 0.05)
    box = FakeBox(tmp_path, idle_process)
    with pytest.raises(EdgeError, match="had no result within"):
        measure_reaction(box.daemon, [radiograph], FEW, box.aside)
    idle_process.kill()
    idle_process.wait()
    with pytest.raises(EdgeError, match="ended by itself with -9; its last line: the last words"):
        measure_reaction(box.daemon, [radiograph], FEW, box.aside)


def test_gaps_keep_to_the_rate_and_fall_in_step_with_nothing() -> None:
    gaps = gaps_s(2000, 0.5)
    assert sum(gaps) / len(gaps) == pytest.approx(2.0, rel=0.02)
    assert 1.0 <= min(gaps) < 1.1 < 2.9 < max(gaps) <= 3.0
    assert gaps == gaps_s(2000, 0.5)


def test_those_that_came_while_others_waited() -> None:
    spans = [(0, 1), (0.5, 3), (2, 2.5), (2.9, 3.5), (4, 5)]
    assert overlapping([Sent("", sent_s, seen_s) for sent_s, seen_s in spans]) == 3
    assert overlapping([]) == 0


def test_known_files_have_the_same_bytes(tmp_path: Path) -> None:
    lay_known(tmp_path, 0)
    assert not list(tmp_path.iterdir())
    lay_known(tmp_path, 3)
    assert len(list(tmp_path.iterdir())) == 3
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
