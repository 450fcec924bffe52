"""The report of benchmarks/gpu.py: which targets are met, one JSON with every figure, one Markdown page for people."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.comparison import Bound, Row
from benchmarks.peaks import SIZES
from benchmarks.peers_gpu import TENSORRT, TORCH_COMPILE
from benchmarks.roofline import Peaks

TRIAL = "Trial of the script on a CPU at reduced size: no figure here says anything about a GPU."
HOW = """\
Every peer runs in a process of its own, one after the other, and answers from arrays on the host to arrays on the
host: copy in, computation, copy out and their synchronisation, all five outputs, by the wall clock. Inputs are
phantoms in turn. Each batch size is warmed up for {warm_up_s:g} s before {runs} measured calls. torch and ONNX
Runtime may use TF32 for fp32; TensorRT's plans, built as the box builds them, do not. torch runs channels last with
cuDNN's own choice by measurement; torch.compile is `mode="max-autotune"` with fixed shapes. fp16 keeps heads,
softmax and outputs in fp32 for every peer. A peer is opened when it has given its first answer, of one radiograph:
only then has torch.compile compiled."""
ROOFLINE = """\
The roofline is the sum over layers of the longer of multiply-adds over the peak of their type and bytes over the
peak of memory, and the copies of input and outputs. On a GPU the peak of fp32 is TF32's. Elementwise operators,
views and concatenations cost nothing. Activations that stay in the cache between layers can beat it."""


@dataclass(frozen=True)
class Section:
    """All of one subject. judged: whether the targets are meant for it."""

    subject: str
    torch_weights: str
    bounds: tuple[Bound, ...]
    rows: tuple[Row, ...]
    missing: tuple[tuple[str, str], ...]
    judged: bool


@dataclass(frozen=True)
class Report:
    """trial: measured on a CPU at reduced size. runs, warm_up_s: of each batch size."""

    machine: dict[str, object]
    gpu: dict[str, str]
    trial: bool
    runs: int
    warm_up_s: float
    peaks: Peaks | None
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """ratio: measured, or None with the reason why not."""

    target: str
    ratio: float | None
    met: bool | None
    reason: str = ""

    def __str__(self) -> str:
        if self.ratio is None:
            return f"not measured: {self.target} ({self.reason})"
        return f"{'met' if self.met else 'NOT met'}: {self.target}; it is {self.ratio:.2f}"


def verdicts(section: Section) -> list[Verdict]:
    """The targets of TensorRT for the ensemble, on the median of batch 1."""
    half, compiled = _median(section, TENSORRT.name, "fp16"), _median(section, TORCH_COMPILE.name, "fp16")
    eighth = _median(section, TENSORRT.name, "int8")
    bound = next((bound.bound_s for bound in section.bounds if (bound.precision, bound.batch) == ("fp16", 1)), None)
    return [
        _judge("FP16 at least 1.5 times as fast as torch.compile FP16", compiled, half, at_least=1.5),
        _judge("FP16 within 1.5 times the roofline", half, bound, at_most=1.5),
        _judge("INT8 at least 1.3 times as fast as FP16", half, eighth, at_least=1.3),
    ]


def _judge(
    target: str, over: float | None, under: float | None, *, at_least: float = 0.0, at_most: float = float("inf")
) -> Verdict:
    if over is None or under is None:
        return Verdict(target, None, None, "a figure that it needs is missing; see the rows")
    ratio = over / under
    return Verdict(target, ratio, at_least <= ratio <= at_most)


def _median(section: Section, peer: str, precision: str) -> float | None:
    for row in section.rows:
        timing = row.timing(1)
        if (row.peer, row.precision) == (peer, precision) and timing is not None:
            return timing.p50_s
    return None


def verdict_lines(report: Report) -> list[str]:
    if report.trial:
        return [f"Targets are not judged. {TRIAL}"]
    judged = [section for section in report.sections if section.judged]
    if not judged:
        return ["Targets are not judged: they are meant for the full ensemble. Run with --ensemble"]
    return [f"{section.subject}: {verdict}" for section in judged for verdict in verdicts(section)]


def write_report(report: Report, folder: Path) -> None:
    """report.json and report.md; called again after every row, so that a run that is cut short leaves what it had."""
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = asdict(report)
    document["targets"] = verdict_lines(report)
    (folder / "report.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    machine = report.machine
    lines = ["# Engines on a GPU, side by side", ""]
    if report.trial:
        lines += [f"**{TRIAL}**", ""]
    lines += [f"- {line}" for line in verdict_lines(report)]
    lines += ["", "## Machine", "", *_machine_lines(report), "", f"Command: `{machine['command']}`", ""]
    lines += ["## How it was measured", "", HOW.format(runs=report.runs, warm_up_s=report.warm_up_s), "", ROOFLINE, ""]
    lines += _peak_lines(report)
    for section in report.sections:
        lines += _section_lines(section)
    return "\n".join(lines) + "\n"


def _machine_lines(report: Report) -> list[str]:
    machine = report.machine
    versions = machine["versions"]
    assert isinstance(versions, dict)
    gpu = ", ".join(f"{name} {value}" for name, value in report.gpu.items())
    return [
        f"- GPU: {gpu or 'none seen'}",
        f"- {machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}",
        f"- {', '.join(f'{name} {version}' for name, version in versions.items() if version)}",
        f"- not installed: {', '.join(name for name, version in versions.items() if not version) or 'nothing'}",
    ]


def _peak_lines(report: Report) -> list[str]:
    if report.peaks is None:
        return ["Peaks could not be measured, so there is no roofline.", ""]
    side = SIZES["cpu" if report.trial else "cuda"].side
    cells = [[f"{name}, product of {side} x {side}", f"{rate / 1e12:.2f} T operations/s"]
             for name, rate in report.peaks.operations_per_s.items()]  # fmt: skip
    cells += [["copy in its memory, read and written", f"{report.peaks.bytes_per_s / 1e9:.1f} GB/s"],
              ["copy from the host", f"{report.peaks.host_bytes_per_s / 1e9:.1f} GB/s"]]  # fmt: skip
    return ["## Peaks measured", "", *_table(["what", "reached"], cells), ""]


def _section_lines(section: Section) -> list[str]:
    bounds = {(bound.precision, bound.batch): bound for bound in section.bounds}
    batches = sorted({timing.batch for row in section.rows for timing in row.timings})
    measured = [row for row in section.rows if row.timings]
    latency, throughput = [], []
    for row in measured:
        for timing in row.timings[:1]:
            bound = bounds.get((row.precision, timing.batch))
            spent = (timing.p50_s, timing.p90_s, timing.p95_s, timing.p99_s)
            over = f"{timing.p50_s / bound.bound_s:.2f}" if bound and bound.bound_s else ""
            latency.append([row.peer, row.precision, *(f"{seconds * 1e3:.3f}" for seconds in spent), over,
                            f"{row.open_s:.1f}", row.gpu.get("clocks.sm", ""), row.version])  # fmt: skip
        rates = [row.timing(batch) for batch in batches]
        throughput.append(
            [row.peer, row.precision, *(f"{rate.radiographs_per_s:.1f}" if rate else "" for rate in rates)]
        )
    compared = [(row, row.parity) for row in section.rows if row.parity is not None]
    parity = [[row.peer, row.precision, str(far.radiographs), f"{far.score_change_max:.5f}",
               f"{far.score_change_mean:.5f}", str(far.flipped), f"{far.embedding_cosine_min:.6f}",
               f"{far.lung_dice_min:.5f}"] for row, far in compared]  # fmt: skip
    counted = [[bound.precision, str(bound.batch), f"{bound.multiply_adds / 1e9:.2f}", f"{bound.bytes_moved / 1e6:.1f}",
                "" if bound.bound_s is None else f"{bound.bound_s * 1e3:.3f}"] for bound in section.bounds]  # fmt: skip
    failed = [f"- {row.peer} {row.precision}{f', batch {batch}' if batch else ''}: {reason}"
              for row in section.rows for batch, reason in row.failures]  # fmt: skip
    failed += [f"- no {precision} graph: {reason}" for precision, reason in section.missing]
    first = measured[0].timings[0].batch if measured else 1
    return [
        f"## {section.subject}", "", f"Torch peers run {section.torch_weights}.", "",
        f"### Latency, batch {first}, milliseconds", "",
        *_table(["peer", "precision", "p50", "p90", "p95", "p99", "p50 / roofline", "first answer in, s",
                 "SM clock after", "version"], latency), "",
        "### Throughput, radiographs a second", "",
        *_table(["peer", "precision", *(f"batch {batch}" for batch in batches)], throughput), "",
        "### Roofline", "",
        *_table(["precision", "batch", "G multiply-adds", "MB moved", "bound, ms"], counted), "",
        "### Parity with the CPU's answers to the same graph", "",
        *_table(["peer", "precision", "radiographs", "score change max", "mean", "decisions flipped",
                 "embedding cosine min", "lung Dice min"], parity), "",
        "### Not measured, and why", "", *(failed or ["nothing"]), "",
    ]  # fmt: skip


def _table(head: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    rows = [f"| {' | '.join(row)} |" for row in cells]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *rows] if rows else ["none"]
