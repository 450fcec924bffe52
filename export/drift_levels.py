"""What a bundle tells a box of drift: how scores and pictures of its frontal radiographs are spread."""

from collections.abc import Sequence

from edge.drift_signals import DIGITS, QUANTITIES
from edge.quality import nearest_distance
from edge.reference_cases import Reference
from edge.reference_levels import LEAST_COUNT, Levels
from export.gate_pictures import Pictured


def drift_levels(scored: Sequence[Pictured], reference: Reference) -> dict[str, Levels]:
    """By signal. scored: frontal radiographs that the gate lets pass.

    Reference cases are left out: training has seen them, and they lie at no distance from themselves. Kinds, such as
    the format, are not told: they are of the files at hand, and a box takes its own. Nor is what too few have.
    """
    known = set(reference.case_ids)
    values: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    for each in scored:
        if each.case_id not in known:
            measured = (each.score, nearest_distance(each.embedding, reference.embeddings), each.lung_fraction)
            for name, value in zip(QUANTITIES, (*measured, *each.grey), strict=True):
                if value is not None:
                    values[name].append(round(value, DIGITS))
    return {name: Levels.of(found) for name, found in values.items() if len(found) >= LEAST_COUNT}
