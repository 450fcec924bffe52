"""What a bundle tells a box of drift: how pictures of its frontal radiographs are spread."""

from collections.abc import Sequence

from edge.drift_signals import DIGITS, QUANTITIES
from edge.quality import nearest_distance
from edge.reference_cases import Reference
from edge.reference_levels import LEAST_COUNT, Levels
from export.gate_pictures import Pictured

OF_PICTURES = tuple(name for name in QUANTITIES if name != "score")


def drift_levels(scored: Sequence[Pictured], reference: Reference) -> dict[str, Levels]:
    """By signal. scored: frontal radiographs that the gate lets pass.

    Reference cases are left out: training has seen them, and they lie at no distance from themselves. The score is not
    told: it depends on how many of a hospital's patients are ill, so that unchanged radiographs of another mix rang.
    Nor are kinds, such as the format, for they are of the files at hand. Of both a box takes its own. Nor is what too
    few have.
    """
    known = set(reference.case_ids)
    values: dict[str, list[float]] = {name: [] for name in OF_PICTURES}
    for each in scored:
        if each.case_id not in known:
            measured = (nearest_distance(each.embedding, reference.embeddings), each.lung_fraction, *each.grey)
            for name, value in zip(OF_PICTURES, measured, strict=True):
                if value is not None:
                    values[name].append(round(value, DIGITS))
    return {name: Levels.of(found) for name, found in values.items() if len(found) >= LEAST_COUNT}
