"""The networks that peers are measured on, with every graph that they need; made once under a folder and used again.

The packaged research bundle holds int8 alone: its fp32 graph is exported from its architectures with random weights.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from benchmarks.roofline import count_layers
from benchmarks.subject import Subject, full_ensemble, planned_ensemble, subject_of_bundle
from edge.errors import EdgeError
from export.fused import Fused
from export.graph import write_graph

ENSEMBLE = "ensemble"
ENSEMBLE_SIDE = 1024  # pixels
NEEDED = ("fp32", "int8")
_RECORD = "made-by.json"  # written last
_MAKERS = ("torch", "onnx", "onnxscript", "onnxruntime")  # another version may write another graph


@dataclass(frozen=True)
class Network:
    """multiply_adds: of each graph, by precision: that they agree shows that all peers do the same work."""

    subject: Subject
    multiply_adds: dict[str, int]


def network(name: str, folder: Path, *, side: int = ENSEMBLE_SIDE) -> Network:
    """name: a bundle's, or `ensemble`. folder: where its graphs lie or are made.

    Raises EdgeError where a graph that is needed cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    subject = _ensemble(folder, side) if name == ENSEMBLE else _of_bundle(name, folder)
    for precision, reason in subject.missing:
        raise EdgeError(f"{name} has no {precision} graph ({reason}). Run: pip install 'edge-cxr[peers]'")
    counted = {kind: sum(layer.multiply_adds for layer in count_layers(subject.graph(kind), 1)) for kind in NEEDED}
    return Network(subject, counted)


def _of_bundle(name: str, folder: Path) -> Subject:
    subject = subject_of_bundle(name, folder)
    return subject if "fp32" in subject.precisions else with_fp32(subject)


def with_fp32(subject: Subject, *, write: Callable[[Fused, Path], None] = write_graph) -> Subject:
    """Its fp32 graph exported, with random weights, unless the same libraries have done so before."""
    whole = replace(subject, precisions=(*subject.precisions, "fp32"))
    if not _is_kept(whole):
        write(whole.module(), whole.graph("fp32"))
        _keep(whole)
    return whole


def _ensemble(folder: Path, side: int) -> Subject:
    plan = planned_ensemble(side, folder)
    if _is_kept(plan):
        return plan
    made = full_ensemble(side, folder)
    if not made.missing:
        _keep(made)
    return made


def _is_kept(subject: Subject) -> bool:
    record = subject.folder / _RECORD
    return record.exists() and json.loads(record.read_text(encoding="utf-8")) == _record(subject)


def _keep(subject: Subject) -> None:
    (subject.folder / _RECORD).write_text(json.dumps(_record(subject), indent=1) + "\n", encoding="utf-8")


def _record(subject: Subject) -> dict[str, object]:
    architectures = {"lungs": asdict(subject.lungs)} if subject.lungs else {}
    told = {
        "name": subject.name,
        "members": [asdict(member) for member in subject.members],
        **architectures,
        "versions": {name: version(name) for name in _MAKERS},
    }
    return json.loads(json.dumps(told))  # tuples as JSON has them
