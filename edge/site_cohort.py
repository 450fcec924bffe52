"""A site's labelled radiographs: the lines of its manifest, and what the box's own pipeline says of each file.

What is found on them is site_fit.py's work.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import Unopenable, UsageError
from edge.manifest_lines import Fault, Line, read_lines, told
from edge.site_calibration import network_score
from edge.site_fit import LabelledScore
from edge.statistics import Cluster, clusters_of
from edge.values import Report

# Why a radiograph is left out, beside the reasons for which the box refuses one.
UNLABELLED, TRAIN, REPEATED, KNOWN, UNOPENABLE = "unlabelled", "train", "repeated", "known_to_bundle", "unopenable"
Clusters = Mapping[str, Cluster]  # by patient


@dataclass(frozen=True)
class SiteRow:
    """One line to be scored. cluster: the patient, with all who share a group with the patient."""

    line: int
    path: Path
    positive: bool
    cluster: str


@dataclass(frozen=True)
class SiteManifest:
    """left_out: how many lines were, by why. sha256: of the file."""

    rows: tuple[SiteRow, ...]
    left_out: dict[str, int]
    sha256: str


@dataclass(frozen=True)
class SiteScores:
    """cases: what the box scores. left_out: how many lines were left out altogether, by why."""

    cases: tuple[LabelledScore, ...]
    left_out: dict[str, int]


def read_site_manifest(manifest: Path, labels: Sequence[str]) -> SiteManifest:
    """labels: the bundle's, (negative, positive). Patients with a row of the split train are left out, as are those who
    belong with them, for a network may know them.

    Raises UsageError as `read_lines`, and naming every line that cannot be used: no patient, another label, no file.
    """
    try:
        content = manifest.read_bytes()
    except OSError as fault:
        raise UsageError(f"the manifest cannot be read ({fault.strerror}); check --manifest") from None
    lines, found = read_lines(manifest, content, ("path", "patient_id", "label"))
    clusters = clusters_of(_belonging(line) for line in lines)
    trained = {clusters[line.columns["patient_id"]] for line in lines if _is_train(line)}
    why = {line.number: _left_out(line, clusters, trained) for line in lines}
    used = [line for line in lines if why[line.number] is None]
    found += [fault for line in used for fault in _faults(manifest, line, labels)]
    if found:
        raise UsageError(told(manifest, sorted(found)))
    rows = tuple(_row(manifest, line, labels, clusters) for line in used)
    return SiteManifest(rows, dict(Counter(filter(None, why.values()))), hashlib.sha256(content).hexdigest())


def score_site(
    manifest: SiteManifest, rows: Iterable[SiteRow], report_of: Callable[[Path], Report], known: Collection[str]
) -> SiteScores:
    """Ask for each row's report. known: ids of cases that the bundle holds, which it was made from; whoever belongs
    with their patients is left out too.

    Raises UsageError where the same radiograph stands there with both labels, and EngineError.
    """
    left_out, cases = Counter(manifest.left_out), list[LabelledScore]()
    first: dict[str, SiteRow] = {}  # by the pixels: a second export has another header
    known_clusters: set[str] = set()
    for row in rows:
        try:
            report = report_of(row.path)
        except (FileNotFoundError, Unopenable):
            left_out[UNOPENABLE] += 1
            continue
        pixels = report.sha256 if report.source is None else report.source.pixels_sha256
        earlier = first.setdefault(pixels, row)
        if earlier.positive != row.positive:
            raise UsageError(f"lines {earlier.line} and {row.line} name the same radiograph with both labels; keep one")
        if earlier is not row:
            left_out[REPEATED] += 1
        elif report.case_id in known:
            left_out[KNOWN] += 1
            known_clusters.add(row.cluster)
        elif report.prediction is None or not report.scored:
            left_out[str(report.reason)] += 1
        else:
            cases.append(LabelledScore(network_score(report.prediction), row.positive, row.cluster))
    strangers = tuple(case for case in cases if case.cluster not in known_clusters)
    left_out.update({KNOWN: len(cases) - len(strangers)} if known_clusters else {})
    return SiteScores(strangers, dict(sorted(left_out.items())))


def _belonging(line: Line) -> tuple[str, str]:
    """Patient and group. A line without a patient is a fault of its own, and brings nobody together."""
    patient = line.columns["patient_id"]
    return patient, line.columns.get("group_id", "") if patient else ""


def _is_train(line: Line) -> bool:
    return line.columns.get("split", "") == TRAIN


def _left_out(line: Line, clusters: Clusters, trained: Collection[Cluster]) -> str | None:
    patient = line.columns["patient_id"]
    if _is_train(line) or (patient and clusters[patient] in trained):
        return TRAIN
    return None if line.columns["label"] else UNLABELLED


def _row(manifest: Path, line: Line, labels: Sequence[str], clusters: Clusters) -> SiteRow:
    cells = line.columns
    path = (manifest.parent / cells["path"]).resolve()  # a link in the site's own manifest is followed
    return SiteRow(line.number, path, cells["label"] == labels[1], " ".join(clusters[cells["patient_id"]]))


def _faults(manifest: Path, line: Line, labels: Sequence[str]) -> Iterable[Fault]:
    """Messages hold no cell: a name may stand in any of them."""
    cells = line.columns
    if not cells["patient_id"]:
        yield line.number, "patient_id is empty; write a pseudonym, the same on all lines of the patient"
    if cells["label"] not in labels:
        yield line.number, f"the label is neither {labels[0]} nor {labels[1]}, which the bundle knows; correct it"
    if not cells["path"] or not _is_file(manifest.parent / cells["path"]):
        yield line.number, "there is no such file; paths are relative to the manifest's folder"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, or a folder that may not be entered
        return False
