"""Divisions of a cohort: who is trained on, who is held out. Never across patients, nor across their groups."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from training.row import Row

Cluster = tuple[str, str]  # kind and name: a group, or a patient who is in none


def hold_out(rows: Sequence[Row], *, shares: Mapping[str, float], seed: int) -> tuple[Row, ...]:
    """Rows without a split get one, cluster by cluster: `shares` as {"val": 0.1, "test": 0.15}, the rest is train.

    A cluster is a patient, or all who share a group; one that has a split already keeps it. Clusters are drawn within
    each label (of their first row), so that every split has both.
    """
    counted = [row for row in rows if row.counted]
    clusters = clusters_of(counted)
    labels: dict[Cluster, str] = {}
    for row in counted:
        labels.setdefault(clusters[row.patient_id], row.label)
    chosen = {cluster: row.split for cluster, row in first_with_split(counted, clusters).items()}
    undrawn = labels.keys() - chosen.keys()
    for label in sorted({labels[cluster] for cluster in undrawn}):
        drawn = sorted(cluster for cluster in undrawn if labels[cluster] == label)
        Random(f"{seed}:{label}").shuffle(drawn)
        start = 0.0
        for split, share in shares.items():
            for cluster in drawn[round(start * len(drawn)) : round((start + share) * len(drawn))]:
                chosen[cluster] = split
            start += share
    return tuple(
        row if row.split else replace(row, split=chosen.get(clusters[row.patient_id], "train")) for row in rows
    )


def clusters_of(rows: Sequence[Row]) -> dict[str, Cluster]:
    """patient_id -> its cluster: all who share a group with it, also by way of others."""
    least: dict[Cluster, Cluster] = {}

    def root(name: Cluster) -> Cluster:
        while least.setdefault(name, name) != name:
            name = least[name]
        return name

    for row in rows:
        patient = root(("patient", row.patient_id))
        if row.group_id:
            group = root(("group", row.group_id))
            least[max(patient, group)] = min(patient, group)  # the least, so that the order of rows does not matter
    return {row.patient_id: root(("patient", row.patient_id)) for row in rows}


def first_with_split(counted: Sequence[Row], clusters: Mapping[str, Cluster]) -> dict[Cluster, Row]:
    first: dict[Cluster, Row] = {}
    for row in counted:
        if row.split:
            first.setdefault(clusters[row.patient_id], row)
    return first
