"""The accuracy gate on this machine: every precision that a bundle holds, asked through the box's own engines.

On a GPU it is the plan that holds or fails. Decisions are the bundle's own; what is judged, and by which limits, is
calib's.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.cohort import Cohort, read_cohort
from calib.gate import Asked, GateFailed, Limits, Outcome, judge
from calib.gate import table as table_of
from calib.gate_set import GateSet, gate_set
from calib.ranges import read_input
from calib.selection import USUAL
from edge.bundle import Bundle, Manifest
from edge.config import Config
from edge.engines import Engine, Outputs, open_engine
from edge.engines.opening import GpuPlace, find_gpu
from edge.errors import UsageError
from edge.operating_point import youden_point
from edge.reading_room import kept_plans
from edge.shelf import open_configured
from edge.temperature import apply_temperature
from edge.values import PRECISIONS, EngineIdentity
from export.loose_graphs import FP32, with_fp32
from export.parity import joined
from training.progress import bar

REFERENCE = "fp32 by openvino"  # by it all is judged on every machine: a plan that is wrong cannot prove itself right


@dataclass(frozen=True)
class Listing:
    """Whom to ask about, as `calibrate` was told. cache: of arrays."""

    manifests: tuple[Path, ...]
    cache: Path
    permitted_only: bool = False
    leave_out_refused: bool = False
    seed: int = 0

    def read(self, manifest: Manifest) -> Cohort:
        """By the labels and the preprocessing of a bundle."""
        return read_cohort(
            self.manifests, manifest.preprocessing, self.cache, labels=manifest.labels,
            permitted_only=self.permitted_only, leave_out_refused=self.leave_out_refused, seed=self.seed,
        )  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """What a precision came to, and the engine that answered for it."""

    engine: EngineIdentity
    outcome: Outcome


@dataclass(frozen=True)
class Accuracy:
    """precisions: the reference first. fp32_sha256: of its graph. gate_sha256: of the gate set."""

    bundle_id: str
    fp32_sha256: str
    gate_sha256: str
    precisions: Mapping[str, Judged]

    def as_record(self) -> dict[str, Any]:
        stamps = {"bundle_id": self.bundle_id, "fp32_sha256": self.fp32_sha256, "gate_sha256": self.gate_sha256}
        found = {
            name: {"backend": judged.engine.backend, "version": judged.engine.version, **judged.outcome.as_record()}
            for name, judged in self.precisions.items()
        }
        return {**stamps, "precisions": found}

    def table(self) -> str:
        engines = [judged.engine for judged in self.precisions.values()]
        told = ", ".join(f"{engine.precision} by {engine.backend}" for engine in engines)
        return f"{table_of({name: judged.outcome for name, judged in self.precisions.items()})}\nanswered: {told}"

    def require(self) -> None:
        """Raises GateFailed naming the precisions that fail."""
        failed = [name for name, judged in self.precisions.items() if not judged.outcome.passed]
        if failed:
            raise GateFailed(f"the accuracy gate fails for {', '.join(failed)} on this machine; set another "
                             "precision here, or calibrate again and assemble the bundle anew")  # fmt: skip


def measure_accuracy(
    config: Config, listing: Listing, fp32: Path | None, *, say: Callable[[str], None],
    find: Callable[[], GpuPlace] = find_gpu,
) -> Accuracy:  # fmt: skip
    """Ask the engines that this machine would take for each precision. say: told of what can be no more than a warning.

    fp32: the graph that the bundle's int8 was made from, where it does not hold one itself.
    Raises UsageError where there is no fp32 to measure by, or two; GateFailed where it answers worse here than when the
    bundle was calibrated; and what opening an engine raises.
    """
    bundle = open_configured(config)
    asked = askable(bundle, fp32)
    manifest = bundle.manifest

    def opened(name: str) -> Engine:
        if name == REFERENCE:
            return open_engine(asked, backend="openvino", precision=FP32)
        return open_engine(asked, backend=config.backend, precision=name, plans=kept_plans(config), find=find)

    for name in (REFERENCE, *_held(manifest)):
        opened(name).close()  # a plan that is missing must not be found out after an hour of asking
    cohort = listing.read(manifest)
    warn_of_other_calibration(manifest, cohort, say)
    gate = gate_set(cohort, positive=manifest.labels[1])
    if _recorded_auc(manifest, gate) is None:
        say("warning: the bundle records no AUC of fp32 on these radiographs: a fault of fp32 itself would not be seen")
    digest = hashlib.sha256(asked.model_bytes(FP32)).hexdigest()
    return Accuracy(bundle.id, digest, gate.sha256, judge_precisions(manifest, gate, opened))


def judge_precisions(manifest: Manifest, gate: GateSet, opened: Callable[[str], Engine]) -> dict[str, Judged]:
    """fp32 by OpenVINO, which is the reference, and by it every precision that the bundle holds.

    opened: the engine of REFERENCE or of a precision; closed here. Where this machine's own fp32 is another engine, it
    is judged too. Raises GateFailed where the reference answers worse than the bundle recorded.
    """
    with contextlib.closing(opened(REFERENCE)) as engine:
        fp32 = Asked(_ask(engine, gate.radiographs, f"gate {REFERENCE}"), _ask(engine, gate.cases, "cases"))
    reference = Judged(engine.identity, _judge(manifest, FP32, gate, fp32, fp32))
    _require_recorded(reference.outcome.auc, _recorded_auc(manifest, gate))
    found: dict[str, Judged] = {}
    for precision in _held(manifest):
        with contextlib.closing(opened(precision)) as engine:
            if precision == FP32 and engine.identity.backend == "openvino":
                continue  # the reference itself
            asked = Asked(_ask(engine, gate.radiographs, f"gate {precision}"), None)
        found[precision] = Judged(engine.identity, _judge(manifest, precision, gate, fp32, asked))
    return {REFERENCE if FP32 in found else FP32: reference, **found}


def askable(bundle: Bundle, fp32: Path | None) -> Bundle:
    """The bundle with an fp32 to measure by, its own or the graph named, and no outcome of an earlier gate: a precision
    that failed answers for nobody, but here it is asked whether it still does.
    """
    manifest = bundle.manifest
    held = f"bundle {manifest.name} holds {', '.join(manifest.precisions)}"
    if FP32 in manifest.precisions and fp32 is not None:
        raise UsageError(f"{held}: its own fp32 is what the others are measured by; leave out --fp32 {fp32.name}")
    if FP32 not in manifest.precisions and fp32 is None:
        raise UsageError(
            f"{held} and no fp32 to measure by; name the graph that it was made from: --fp32 model.fp32.onnx"
        )
    whole = bundle if fp32 is None else with_fp32(bundle, fp32)
    return replace(whole, manifest=replace(whole.manifest, accuracy={}))


def warn_of_other_calibration(manifest: Manifest, cohort: Cohort, say: Callable[[str], None]) -> None:
    """The radiographs that int8 was calibrated with are chosen again as its bundle recorded it."""
    recorded = manifest.accuracy.get("int8", {})
    chosen = cohort.calibration(recorded.get("calibration_radiographs", USUAL))
    expected = recorded.get("calibration_sha256", chosen.sha256)
    if chosen.sha256 != expected:
        say(f"warning: int8 was calibrated with other radiographs ({expected[:12]}) than these manifests give "
            f"({chosen.sha256[:12]}), and some of them may be judged; name the manifests of `calibrate`")  # fmt: skip


def _held(manifest: Manifest) -> tuple[str, ...]:
    return tuple(name for name in PRECISIONS if name in manifest.precisions)


def _judge(manifest: Manifest, precision: str, gate: GateSet, fp32: Asked, asked: Asked) -> Outcome:
    """At the bundle's points. An fp32 without one decides as in `calibrate`, by the val rows."""
    point = _point(manifest, precision, asked.gate.score)
    points = None
    if point is not None:
        before = _point(manifest, FP32, fp32.gate.score)
        if before is None:
            validation = gate.labels.validation
            before = youden_point(fp32.gate.score[validation], gate.labels.positive[validation])
        points = before, point
    return judge(fp32, asked, gate.labels, limits=_limits(manifest, precision), points=points)


def _point(manifest: Manifest, precision: str, scores: NDArray[np.float32]) -> float | None:
    """The bundle's point among the network's own scores. Points are of what the box shows, which is scaled: the least
    score that it would call positive stands for it, to the last bit.
    """
    point, temperature = manifest.operating_points.get(precision), manifest.temperatures.get(precision)
    if point is None or temperature is None:
        return point
    positive = scores[apply_temperature(scores, temperature) >= point]
    return float(positive.min(initial=np.nextafter(scores.max(), np.float32(2))))


def _limits(manifest: Manifest, precision: str) -> Limits:
    """Without an operating point nothing is decided. An fp32 that the bundle does not hold decides as the others do."""
    deciding = {name for name, point in manifest.operating_points.items() if point is not None}
    decides = precision in deciding if precision in manifest.precisions else bool(deciding)
    return Limits() if decides else Limits(flipped=None)


def _recorded_auc(manifest: Manifest, gate: GateSet) -> float | None:
    """What fp32 reached on these very radiographs when the bundle was calibrated; None where that was not recorded."""
    recorded = [outcome for outcome in manifest.accuracy.values() if outcome.get("gate_sha256") == gate.sha256]
    return max((outcome["auc_fp32"] for outcome in recorded), default=None)


def _require_recorded(area: float, recorded: float | None) -> None:
    if recorded is not None and recorded - area > Limits().auc_loss:
        raise GateFailed(f"fp32 has an AUC of {area:.4f} on this machine and had {recorded:.4f} when the bundle was "
                         "calibrated, on the same radiographs: nothing can be judged by it; run edge-cxr doctor, or "
                         "name with --fp32 the graph that `calibrate` was given")  # fmt: skip


def _ask(engine: Engine, kept: Sequence[Path], description: str) -> Outputs:
    """One radiograph at a time, as the box asks."""
    return joined([engine.infer(read_input(path)) for path in bar(kept, description, total=len(kept))])
