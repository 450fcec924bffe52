"""Precisions through the gate: outcomes as a bundle records them, and as people read them."""

from collections.abc import Mapping
from pathlib import Path

from calib.gate import Asked, Outcome, judge
from calib.gate_set import GateSet


def outcomes(
    graphs: Mapping[str, Path], gate: GateSet, *, known: Mapping[str, Asked] | None = None
) -> dict[str, Outcome]:
    """Each precision against fp32. graphs: by precision, fp32 among them. known: what was asked before."""
    asked = {**(known or {})}
    for precision, graph in graphs.items():
        if precision not in asked:
            asked[precision] = gate.ask(graph)
    return {precision: judge(asked["fp32"], asked[precision], gate.labels) for precision in graphs}


def table(found: Mapping[str, Outcome]) -> str:
    """One line for each precision, then its failures."""
    lines = [
        f"{'precision':<10}{'AUC':>8}{'sens':>7}{'spec':>7}{'flipped':>9}{'95% <':>8}{'recall@4':>10}"
        f"{'score max':>11}{'mean':>9}{'cosine':>8}{'Dice':>7}  gate"
    ]
    for precision, outcome in found.items():
        parity = outcome.parity
        lines.append(
            f"{precision:<10}{outcome.auc:>8.4f}{outcome.sensitivity:>7.3f}{outcome.specificity:>7.3f}"
            f"{outcome.flipped:>5}/{parity.radiographs:<3}{outcome.flipped_upper:>8.2%}{outcome.recall:>10.3f}"
            f"{parity.score_change_max:>11.4f}{parity.score_change_mean:>9.4f}{parity.embedding_cosine_min:>8.4f}"
            f"{parity.lung_dice_min:>7.3f}  {'holds' if outcome.passed else 'FAILS'}"
        )
    failures = [f"{precision}: {failure}" for precision, outcome in found.items() for failure in outcome.failures]
    return "\n".join([*lines, *failures])
