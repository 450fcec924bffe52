"""Divisions of a cohort: who is trained on, who is held out. Never across patients, nor across their groups."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from random import Random

from edge import statistics
from edge.errors import UsageError
from edge.statistics import Cluster
from training.row import TRAINING_SPLITS, Row

_Stratum = tuple[str, str, str]  # label, source and hospital of a cluster's rows
LEAST_CLUSTERS = 3  # of each label that a source needs before it is held out by itself
DRAWN, DRAWN_BESIDE_FIXED, OF_SOURCE = "test", "test_drawn", "test_source"


def hold_out(rows: Sequence[Row], *, shares: Mapping[str, float], seed: int) -> tuple[Row, ...]:
    """Rows without a split get one, cluster by cluster: `shares` as {"val": 0.1, "test": 0.15}, the rest is train.

    A cluster is a patient, or all who share a group; one that has a split already keeps it. Clusters are drawn within
    each label, and within it evenly over sources and hospitals: a split's share is right to one cluster of a label,
    and to two of a hospital. The order of rows does not matter.
    """
    counted = [row for row in rows if row.counted]
    clusters = clusters_of(counted)
    chosen: dict[Cluster, str] = {}
    for row in sorted(counted, key=lambda row: row.split):
        if row.split:
            chosen.setdefault(clusters[row.patient_id], row.split)
    strata = _strata([row for row in counted if clusters[row.patient_id] not in chosen], clusters)
    for label in sorted({stratum[0] for stratum in strata.values()}):
        chosen |= _draw({name: stratum for name, stratum in strata.items() if stratum[0] == label}, shares, seed)
    return tuple(
        row if row.split else replace(row, split=chosen.get(clusters[row.patient_id], "train")) for row in rows
    )


def draw_splits(rows: Sequence[Row], *, seed: int, test_share: float = 0.15, val_share: float = 0.1) -> tuple[Row, ...]:
    """One of the paper's random divisions: train and val are drawn anew, and a test split out of them.

    rows: of the manifest, not of an earlier division, whose test split would count as fixed. What the manifest fixes as
    test or test_<name> never moves, and the part newly held out of the others is then called test_drawn, else test.

    Raises UsageError when the manifest itself has a split test_drawn.
    """
    fixed = {row.split for row in rows if row.split.startswith("test")}
    if DRAWN_BESIDE_FIXED in fixed:
        raise UsageError(f"the manifest has a split {DRAWN_BESIDE_FIXED}, which divisions use; give it another name")
    shares = {"val": val_share, DRAWN_BESIDE_FIXED if fixed else DRAWN: test_share}
    return hold_out(_undrawn(rows), shares=shares, seed=seed)


def hold_out_source(rows: Sequence[Row], source: str, *, seed: int, val_share: float = 0.1) -> tuple[Row, ...]:
    """Every row of a source that could be trained on becomes test_source; the others are drawn anew as train and val.

    A cluster that has a row elsewhere too goes along whole. Rows of fixed test splits stay, also those of the source.

    Raises UsageError when no row of it could be trained on.
    """
    held = [replace(row, split=OF_SOURCE) if not row.split and row.source == source else row for row in _undrawn(rows)]
    if OF_SOURCE not in {row.split for row in held}:
        raise UsageError(f"no row of source {source!r} is left to hold out; name one that train or val rows have")
    return hold_out(held, shares={"val": val_share}, seed=seed)


def sources_of_both(rows: Sequence[Row], labels: Sequence[str]) -> tuple[str, ...]:
    """Sources worth holding out: with at least three clusters of each label, and both labels among the others.

    Of the rows that could be trained on. Whoever goes along with a source is no longer among the others.
    """
    counted = [row for row in _undrawn(rows) if row.counted]
    clusters = clusters_of(counted)
    fixed = {clusters[row.patient_id] for row in counted if row.split}
    undrawn = [row for row in counted if clusters[row.patient_id] not in fixed]
    found = []
    for source in sorted({row.source for row in undrawn} - {""}):
        within = [row for row in undrawn if row.source == source]
        apart = {clusters[row.patient_id] for row in within}
        counts = Counter(label for _, label in {(clusters[row.patient_id], row.label) for row in within})
        others = {row.label for row in undrawn if clusters[row.patient_id] not in apart}
        if all(counts[label] >= LEAST_CLUSTERS for label in labels) and others.issuperset(labels):
            found.append(source)
    return tuple(found)


def clusters_of(rows: Sequence[Row]) -> dict[str, Cluster]:
    """patient_id -> its cluster: all who share a group with it, also by way of others."""
    return statistics.clusters_of((row.patient_id, row.group_id) for row in rows)


def _undrawn(rows: Sequence[Row]) -> list[Row]:
    return [replace(row, split="") if row.split in TRAINING_SPLITS else row for row in rows]


def _strata(rows: Sequence[Row], clusters: Mapping[str, Cluster]) -> dict[Cluster, _Stratum]:
    """Each cluster's stratum: that of its first row by path, so that the order of rows does not matter."""
    strata: dict[Cluster, _Stratum] = {}
    for row in sorted(rows, key=lambda row: (row.path, row.annotator)):
        strata.setdefault(clusters[row.patient_id], (row.label, row.source, row.hospital))
    return strata


def _draw(strata: Mapping[Cluster, _Stratum], shares: Mapping[str, float], seed: int) -> dict[Cluster, str]:
    """Splits of the clusters of one label. Without sources and hospitals: slices of one shuffled list."""
    label = next(iter(strata.values()))[0]
    rng = Random(f"{seed}:{label}")
    drawn = sorted(strata)
    rng.shuffle(drawn)
    # Hospitals in the order of their sources, so that a source is dealt as evenly as a hospital.
    members = [[name for name in drawn if strata[name] == stratum] for stratum in sorted(set(strata.values()))]
    held = [len(names) for names in members]
    chosen: dict[Cluster, str] = {}
    # From the widest end inwards, so that every split is cut from what is held out.
    for split, end in reversed(tuple(zip(shares, _ends(tuple(shares.values()), len(drawn)), strict=True))):
        held = _apportion(held, end, rng)
        for names, count in zip(members, held, strict=True):
            chosen |= dict.fromkeys(names[:count], split)
    return chosen


def _ends(shares: Sequence[float], count: int) -> list[int]:
    """Where each share of the clusters ends; none is empty where train keeps one too."""
    ends = [0]
    for share, end in zip(shares, accumulate(shares), strict=True):
        least = ends[-1] + (share > 0 and count > len(shares))
        ends.append(min(max(round(end * count), least), count))
    return ends[1:]


def _apportion(sizes: Sequence[int], total: int, rng: Random) -> list[int]:
    """Whole parts of the sizes that sum to the total, each within one of its share: systematic sampling.

    The random start gives a hospital of a single cluster its fair chance.
    """
    everyone = sum(sizes)
    if everyone == 0:
        return [0] * len(sizes)
    start = rng.randrange(everyone)
    ends = [(start + end * total) // everyone for end in accumulate(sizes, initial=0)]
    return [end - begin for begin, end in pairwise(ends)]
