"""`python -m benchmarks.gpu`: tried whole on a CPU, and its parts on figures made by hand."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mad_peer
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fake_engine import FakeEngine
from numpy.typing import NDArray

from benchmarks.child import CallFailed, call_apart
from benchmarks.comparison import INPUTS, Bound, Effort, Job, Row, attempt, bounds_of, bytes_per_radiograph, measure
from benchmarks.gpu import check_machine, gpu
from benchmarks.gpu_report import TRIAL, Report, Section, render, verdict_lines, verdicts
from benchmarks.peers_gpu import CUDA_PEERS, OPENVINO, TORCH_EAGER, Peer
from benchmarks.roofline import Peaks
from benchmarks.subject import Subject, untrained
from benchmarks.timing import Timing, batches_of, summarise, time_calls
from edge.engines import Engine, Outputs
from edge.errors import UsageError
from export.parity import compare
from training.model import ClassifierArchitecture, LungArchitecture

ONCE = Effort(batches=(1,), runs=1, warm_up_s=0.0, phantoms=2)
NOTHING = Subject("nothing", (), (), None, "pad", Path("nowhere"))
COMPILING_S = 0.2


class Lazy(FakeEngine):
    """It compiles when it is first asked, as torch.compile does."""

    compiled = False

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        if not self.compiled:
            time.sleep(COMPILING_S)
        self.compiled = True
        return super()._run(batch)


def test_the_whole_command_on_a_cpu(tmp_path: Path) -> None:
    arguments = ["--bundle", "phantom", "--device", "cpu", "--runs", "2", "--batch", "1", "--batch", "2"]
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments, "--out", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert TRIAL in done.stdout
    document = json.loads((tmp_path / "report.json").read_text())
    (section,) = document["sections"]
    rows = {(row["peer"], row["precision"]): row for row in section["rows"]}
    assert rows.keys() == {("OpenVINO (CPU)", "fp32"), ("OpenVINO (CPU)", "int8"), ("torch eager", "fp32")}
    for row in rows.values():
        assert not row["failures"]
        assert [timing["batch"] for timing in row["timings"]] == [1, 2]
        assert all(timing["runs"] == 2 and 0 < timing["p50_s"] <= timing["p99_s"] for timing in row["timings"])
    assert section["bounds"][0]["bound_s"] > 0
    assert document["machine"]["command"].startswith("python -m benchmarks.gpu --bundle phantom --device cpu")
    assert document["machine"]["versions"]["torch"]
    page = (tmp_path / "report.md").read_text()
    assert TRIAL in page
    assert "random weights" in page
    assert "| torch eager | fp32 |" in page
    assert "| first answer in, s |" in page


def test_bad_arguments_and_a_missing_gpu_are_usage_errors() -> None:
    assert CliRunner().invoke(gpu, ["--batch", "9", "--device", "cpu"]).exit_code == 2
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match=r"no NVIDIA GPU.*--device cpu"):
            check_machine("cuda")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_an_untrained_subject_answers_alike_in_torch_and_in_its_graph(tmp_path: Path) -> None:
    member = ClassifierArchitecture("tiny", "resnet18", (8, 8, 16, 16), 64)
    subject = untrained((member,), LungArchitecture(depth=3, widths=(8, 8, 8)), "tiny", tmp_path)
    assert subject.precisions == ("fp32", "fp16", "int8"), subject.missing
    np.save(tmp_path / INPUTS, subject.inputs(2))
    row, reference = measure(Job(subject, OPENVINO, "fp32", "cpu", ONCE, timed=False))
    assert row.timings == ()
    row, answers = measure(Job(subject, TORCH_EAGER, "fp32", "cpu", ONCE))
    assert row.timing(1) is not None
    parity = compare(reference, answers)
    assert parity.score_change_max < 1e-4
    assert parity.embedding_cosine_min > 0.9999
    assert parity.lung_dice_min > 0.99
    assert np.ptp(answers.lung_mask) > 0.01  # a constant network would agree with anything
    bounds = list(
        bounds_of(
            subject,
            Peaks({"fp32": 1e12, "fp16": 1e12, "int8": 1e12}, bytes_per_s=1e12, host_bytes_per_s=1e3),
            "cuda",
            (1, 2),
        )
    )
    assert {(bound.precision, bound.batch) for bound in bounds} == {(p, b) for p in subject.precisions for b in (1, 2)}
    assert all(
        bound.bound_s is not None and bound.bound_s > bound.batch * bytes_per_radiograph(1) / 1e3 for bound in bounds
    )


def test_bundles_that_do_not_record_their_architectures_say_so(tmp_path: Path) -> None:
    np.save(tmp_path / INPUTS, np.zeros((1, 1, 1024, 1024), np.float32))
    row, _ = attempt(Job(replace(NOTHING, folder=tmp_path), TORCH_EAGER, "fp32", "cpu", ONCE))
    assert row.failures == ((0, "nothing does not record its architectures, so there is no torch module to measure"),)


def test_opening_lasts_until_the_first_answer(tmp_path: Path) -> None:
    inputs = np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1) * np.ones((1, 1, 1024, 1024), np.float32)
    np.save(tmp_path / INPUTS, inputs)
    lazy = Peer("lazy", lambda subject, precision, device: Lazy(), ("fp32",))
    row, answers = measure(Job(replace(NOTHING, folder=tmp_path), lazy, "fp32", "cpu", ONCE, timed=False))
    assert row.open_s is not None and row.open_s >= COMPILING_S
    assert answers.score.tolist() == [0, 1]  # each is asked once, the first too


@pytest.mark.parametrize(
    ("open_it", "reason"),
    [(mad_peer.open_missing, "not installed; pip install peer$"), (mad_peer.open_and_die, r"process died \(7\)$")],
)
def test_a_peer_that_fails_is_a_row(
    tmp_path: Path, open_it: Callable[[Subject, str, str], Engine], reason: str
) -> None:
    np.save(tmp_path / INPUTS, np.zeros((1, 1, 1024, 1024), np.float32))
    job = Job(replace(NOTHING, folder=tmp_path), Peer("mad", open_it, ("fp16",)), "fp16", "cpu", ONCE)
    row, answers = attempt(job)
    assert answers is None
    assert (row.peer, row.precision, row.timings) == ("mad", "fp16", ())
    ((batch, told),) = row.failures
    assert batch == 0
    assert re.search(reason, told)


def test_a_call_apart_answers_fails_or_is_given_up(capfd: pytest.CaptureFixture[str]) -> None:
    assert call_apart(mad_peer.double, 21, limit_s=60) == 42
    printed = capfd.readouterr()
    assert printed.out == ""  # stdout is the command's own
    assert "words that nobody asked for" in printed.err
    with pytest.raises(CallFailed, match=r"^RuntimeError: cannot double 1$"):
        call_apart(mad_peer.fail, 1, limit_s=60)
    with pytest.raises(CallFailed, match="no answer within 0 s"):
        call_apart(mad_peer.sleep, 60.0, limit_s=0.2)


def test_timing_of_known_seconds() -> None:
    timing = summarise(4, [number / 100 for number in range(1, 101)])
    assert (timing.batch, timing.runs) == (4, 100)
    assert timing.mean_s == pytest.approx(0.505)
    assert timing.p99_s == pytest.approx(0.9901)
    assert timing.p50_s < timing.p90_s < timing.p95_s < timing.p99_s
    assert timing.radiographs_per_s == pytest.approx(4 / 0.505)


def test_calls_warm_up_unmeasured_and_take_their_inputs_in_turn() -> None:
    seen: list[list[float]] = []
    radiographs = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1)
    timing = time_calls(lambda batch: seen.append(batch.ravel().tolist()), radiographs, 2, runs=4, warm_up_s=0.0)
    assert timing.runs == 4
    assert seen == [[0, 1], [2, 0], [0, 1], [0, 1], [2, 0], [0, 1], [2, 0]]
    assert [batch.ravel().tolist() for batch in batches_of(radiographs, 8)] == [[0, 1, 2, 0, 1, 2, 0, 1]]


def test_parity_of_answers_that_differ_in_known_ways() -> None:
    masks = np.zeros((3, 1, 4, 4), np.float32)
    masks[:2, 0, :2] = 1
    reference = outputs(np.array([0.2, 0.49, 0.9], np.float32), masks)
    assert compare(reference, reference).lung_dice_min == 1.0  # the third mask is empty in both
    moved = masks.copy()
    moved[1, 0, 0] = 0  # half of its eight pixels
    other = outputs(np.array([0.2, 0.51, 0.8], np.float32), moved)
    parity = compare(reference, other)
    assert parity.radiographs == 3
    assert parity.score_change_max == pytest.approx(0.1)
    assert parity.score_change_mean == pytest.approx(0.04)
    assert parity.flipped == 1
    assert parity.lung_dice_min == pytest.approx(2 * 4 / (4 + 8))
    turned = replace(reference, embedding=reference.embedding * np.array([[1], [1], [-1]], np.float32))
    assert compare(reference, turned).embedding_cosine_min == pytest.approx(-1)


def outputs(scores: np.ndarray, masks: np.ndarray) -> Outputs:
    embedding = np.ones((len(scores), 128), np.float32)
    return Outputs(scores, scores[:, None], embedding, masks, np.zeros((len(scores), 1, 32, 32), np.float32))


def row(peer: str, precision: str, p50_s: float, batch: int = 1) -> Row:
    return Row(peer, precision, "1.0", 2.0, (Timing(batch, 10, p50_s, p50_s, p50_s, p50_s, p50_s, batch / p50_s),))


def section(*rows: Row, bound_s: float | None = 0.008, judged: bool = True) -> Section:
    return Section("ensemble", "its own weights", (Bound("fp16", 1, 10, 10, bound_s),), rows, (), judged)


def test_targets_met_missed_and_not_measured() -> None:
    fast = section(
        row("TensorRT", "fp16", 0.010), row("torch.compile", "fp16", 0.016), row("TensorRT", "int8", 0.009),
        row("torch-tensorrt", "fp16", 0.001),
    )  # fmt: skip
    against, roofline, int8 = verdicts(fast)
    assert (against.met, against.ratio) == (True, pytest.approx(1.6))
    assert (roofline.met, roofline.ratio) == (True, pytest.approx(1.25))
    assert (int8.met, int8.ratio) == (False, pytest.approx(10 / 9))
    slow = verdicts(section(row("TensorRT", "fp16", 0.013), row("torch.compile", "fp16", 0.016)))
    assert [verdict.met for verdict in slow] == [False, False, None]
    assert "not measured" in str(slow[2])
    only_large = verdicts(section(row("TensorRT", "fp16", 0.010, batch=8), bound_s=None))
    assert [verdict.met for verdict in only_large] == [None, None, None]


def test_a_report_judges_the_ensemble_alone_and_never_a_trial() -> None:
    machine = {"command": "c", "processor": "p", "cores": 2, "system": "s", "python": "3", "versions": {"torch": None}}
    peaks = Peaks({"fp16": 1e12}, 1e9, 1e9)
    fast = section(row("TensorRT", "fp16", 0.010), row("torch.compile", "fp16", 0.016))
    report = Report(machine, {"name": "GPU"}, False, 10, 1.0, peaks, (fast, replace(fast, subject="b", judged=False)))
    lines = verdict_lines(report)
    assert len(lines) == 3
    assert lines[0] == "ensemble: met: FP16 at least 1.5 times as fast as torch.compile FP16; it is 1.60"
    assert lines[0] in render(report)
    assert "met:" not in " ".join(verdict_lines(replace(report, trial=True)))
    assert "--ensemble" in verdict_lines(replace(report, sections=()))[0]


def test_failures_stand_in_the_page() -> None:
    machine = {"command": "c", "processor": "p", "cores": 2, "system": "s", "python": "3", "versions": {}}
    failed = Row("torch-tensorrt", "fp16", failures=((0, "not installed"),))
    large = replace(row("TensorRT", "fp16", 0.01), failures=((8, "out of memory"),))
    page = render(
        Report(machine, {}, False, 10, 1.0, None, (replace(section(failed, large), missing=(("int8", "x"),)),))
    )
    assert "- torch-tensorrt fp16: not installed" in page
    assert "- TensorRT fp16, batch 8: out of memory" in page
    assert "- no int8 graph: x" in page


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_whole_command_on_a_gpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--bundle", "phantom", "--runs", "20", "--batch", "1"]
    done = subprocess.run([*command, "--out", str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (section,) = json.loads((tmp_path / "report.json").read_text())["sections"]
    assert {row["peer"] for row in section["rows"]} >= {peer.name for peer in CUDA_PEERS}
    (eager, _) = (row for row in section["rows"] if row["peer"] == "torch eager")
    assert eager["timings"]
    assert eager["gpu"]
