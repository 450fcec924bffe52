"""The model card's section on the gate: of what it refuses how much, counted, with Wilson's intervals."""

from collections.abc import Mapping
from typing import Any

from edge.statistics import Proportion
from export.gate_pictures import DRAWN, FRONTAL, SPOILT

IN_SIGHT = (
    "test_mhh_positive_only",
    "not_frontal",
    "dicom.csv",
)  # while gate_pictures.py and negatives.py were written


def gate_section(rule: Mapping[str, Any]) -> list[str]:
    """rule: what add_gate.py recorded, {"learned", "judged"}; and "notes", what else is to be known of how it came."""
    learned = rule["learned"]
    drawn = sorted(kind for kind in learned if kind.startswith(DRAWN))
    varied = sorted(learned.keys() - {FRONTAL, *drawn}, key=lambda kind: (kind in SPOILT, kind))
    return [
        "## What the gate refuses",
        *_in_sight(rule["judged"]),
        *(line for note in rule.get("notes", ()) for line in (note, "")),
        "Of radiographs that it was not fitted on, through the whole box; files that it cannot read are among the "
        "refused:",
        "",
        *_table(rule["judged"]),
        "",
        "Of the pictures that it was fitted on (frontal radiographs, the same radiographs spoilt, and drawings), each "
        f"judged by a rule fitted without its patient; {' and '.join(sorted(SPOILT))} ones are not taught to it:",
        "",
        *_table({kind: learned[kind] for kind in (FRONTAL, *varied, *drawn)}),
        "",
    ]


def _in_sight(judged: Mapping[str, Any]) -> list[str]:
    seen = [name for name in IN_SIGHT if name in judged]
    if not seen:
        return []
    return [
        f"How frontal radiographs are varied and what is drawn was chosen with {', '.join(seen)} in sight, so that the "
        "figures for these flatter.",
        "",
    ]


def _table(groups: Mapping[str, Any]) -> list[str]:
    return [
        "| pictures | refused, with 95% interval | by reason |",
        "|---|---|---|",
        *(f"| {name} | {_share(found)} | {_reasons(found['refused'])} |" for name, found in groups.items()),
    ]


def _share(found: Mapping[str, Any]) -> str:
    share = Proportion(sum(found["refused"].values()), found["total"])
    interval = share.interval
    return f"{share.count}/{share.total} = {interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _reasons(refused: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in refused.items()) or "-"
