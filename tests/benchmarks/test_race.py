"""Races of peers whose behaviour is known: each in a process of its own, in turn, ratios within rounds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import racing_peers
from hypothesis import given
from hypothesis import strategies as st
from racing_peers import peer

from benchmarks.child import CallFailed
from benchmarks.peers_plot import draw
from benchmarks.peers_report import EAGER, ORT_INT8, OURS, WHOLE, Report, apart, read_report, table, verdict_lines
from benchmarks.peers_report import write_report as write
from benchmarks.race import FEWEST_ROUNDS, Outcome, Race, Ratio, Row, ratio_of, run
from benchmarks.resident import Resident
from edge.errors import UsageError


def test_a_race_of_peers_that_work_fail_die_and_differ() -> None:
    peers = (
        peer("ours", racing_peers.napping, 1),
        peer("slower", racing_peers.napping, 3, answer=0.25),
        peer("as fast, but for what does not count", racing_peers.napping, 3, left_out=2),
        peer("other answers", racing_peers.napping, 1, answer=9, comparable=False),
        peer("missing", racing_peers.not_installed),
        peer("mortal", racing_peers.dying_on, 2),
    )
    said: list[str] = []
    outcome = run(Race("naps", peers, inputs=2, calls=1, cores=1), 3, said.append)
    rows = {row.peer: row for row in outcome.rows}
    assert list(rows) == [one.name for one in peers]
    assert rows["ours"].ratio == Ratio(1.0)
    slower, level = rows["slower"].ratio, rows["as fast, but for what does not count"].ratio
    assert slower is not None and level is not None
    assert slower.value > 1.5 > level.value  # three naps and one
    assert (rows["slower"].difference_max, rows["slower"].difference_mean) == (0.25, 0.25)
    assert rows["other answers"].difference_max is None
    assert [len(rows[name].rounds_s) for name in ("ours", "slower", "mortal", "missing")] == [3, 3, 0, 0]
    assert rows["missing"].failure == "this peer is not installed; pip install peer"
    assert rows["mortal"].failure == "in round 3: its process died (7)"
    assert (rows["ours"].memory_bytes or 0) > 1e7
    assert (rows["ours"].cores_used or 0) < 0.5  # it sleeps
    assert said[-1] == "naps: round 3 of 3"


def test_a_resident_keeps_to_its_cores_and_its_time() -> None:
    with Resident(peer("cores", racing_peers.telling_cores), inputs=1, cores=1, limit_s=60) as resident:
        assert resident.answers[0].tolist() == [1]
    with pytest.raises(CallFailed, match="no answer within 2 s"):
        Resident(peer("stuck", racing_peers.stuck), inputs=1, cores=None, limit_s=2)


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12),
    st.floats(0.1, 10),
    st.lists(st.floats(0.1, 10), min_size=12),
)
def test_what_slows_a_whole_round_changes_no_ratio(ours: list[float], times: float, disturbed: list[float]) -> None:
    slowed = [spent * disturbance for spent, disturbance in zip(ours, disturbed, strict=False)]
    ratio = ratio_of([spent * times for spent in slowed], slowed)
    assert ratio.value == pytest.approx(times)
    if len(ours) < FEWEST_ROUNDS:
        assert (ratio.low, ratio.high) == (None, None)
    else:
        assert (ratio.low, ratio.high) == (pytest.approx(times), pytest.approx(times))


def test_an_interval_holds_the_median_and_widens_with_the_spread() -> None:
    quiet = ratio_of(np.linspace(1.9, 2.1, 11).tolist(), [1.0] * 11)
    loud = ratio_of(np.linspace(1.0, 3.0, 11).tolist(), [1.0] * 11)
    for ratio in (quiet, loud):
        assert ratio.low is not None and ratio.high is not None
        assert ratio.low < ratio.value < ratio.high
    assert loud.high - loud.low > 5 * (quiet.high - quiet.low)  # type: ignore[operator]
    uneven = np.random.default_rng(1).uniform(1, 3, 40).tolist()
    assert ratio_of(uneven, [1.0] * 40) == ratio_of(uneven, [1.0] * 40)  # a second look at one file tells the same


def row(name: str, ratio: Ratio | float | None, median_s: float = 1.0, failure: str = "") -> Row:
    given_ratio = Ratio(ratio) if isinstance(ratio, float) else ratio
    return Row(name, failure=failure, median_s=median_s if ratio else None, cores_used=1.0, ratio=given_ratio,
               rounds_s=(median_s,))  # fmt: skip


def report(*rows: Row, race: str = "engines") -> Report:
    return Report({"command": "c"}, 1, (Outcome(race, None, 1, rows),), ({"multiply_adds": {"int8": 1}},))


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = report(row(OURS, 1.0), row(EAGER, Ratio(7.0, 6.5, 7.5)), row("gone", None, failure="not installed"))
    write(written, tmp_path / "peers.json")
    assert read_report(tmp_path / "peers.json").outcomes == written.outcomes
    document = json.loads((tmp_path / "peers.json").read_text())
    assert document["races"][0]["multiply_adds"] == {"int8": 1}
    assert any("not installed" in line for line in table(written.outcomes[0]))
    draw(written, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "peers.json").write_text('{"races": [{}]}')
    with pytest.raises(UsageError, match=r"no report of peers \(KeyError\)"):
        read_report(tmp_path / "peers.json")


def test_targets_are_judged_by_the_near_end_of_the_interval() -> None:
    lines = verdict_lines(
        report(row(OURS, 1.0), row(ORT_INT8, Ratio(3.2, 3.05, 3.4)), row(EAGER, Ratio(6.2, 5.9, 6.5)))
    )
    assert [line.split(":")[0] for line in lines] == ["met", "NOT met"]
    assert lines[1].endswith("it is 6.20")
    lines = verdict_lines(report(row(OURS, 1.0), row(ORT_INT8, None, failure="not installed")))
    assert lines == [f"not measured: engines: {OURS} at least 3 times as fast as {ORT_INT8} (not installed)"]
    assert [line.split(":")[0] for line in verdict_lines(report(row(WHOLE, 1.0, 0.040)))] == ["met"]
    assert [line.split(":")[0] for line in verdict_lines(report(row(WHOLE, 1.0, 0.041)))] == ["NOT met"]


def test_a_second_run_may_differ_by_15_percent() -> None:
    first = report(row(OURS, 1.0), row(EAGER, 6.0))
    assert apart(report(row(OURS, 1.0), row(EAGER, 6.8)), first) == []
    assert apart(report(row(OURS, 1.0), row(EAGER, 7.0)), first) == [f"engines, {EAGER}: 6.00 then, 7.00 now"]
    assert apart(report(row(OURS, 1.0), row(EAGER, 5.0)), first) == [f"engines, {EAGER}: 6.00 then, 5.00 now"]
    gone = report(row(OURS, 1.0), row(EAGER, None, failure="died"))
    assert apart(gone, first) == [f"engines, {EAGER}: measured in one of the two runs"]
    other = replace(first, outcomes=(replace(first.outcomes[0], race="another"),))
    assert apart(other, first) == ["the earlier run has none of these races"]


def test_a_faster_decoder_counts_only_if_it_is_safe() -> None:
    rows = (row("ours", 1.0), row("fast and fragile", 0.2), row("fast", 0.5))
    race = Outcome("decoding", 1, 1, rows)
    safe = {"ours": {"safe": True}, "fast and fragile": {"safe": False}, "fast": {"safe": True}}
    judged = replace(report(), outcomes=(race,), facts=({"safety": safe},))
    (line,) = verdict_lines(judged)
    assert line == "NOT met: decoding: fast refuses damaged frames as well and takes 0.50 of the box's time"
    (line,) = verdict_lines(replace(judged, facts=({"safety": safe | {"fast": {"safe": False}}},)))
    assert line == "met: decoding: no decoder that refuses damaged frames as well is clearly faster than the box's"
