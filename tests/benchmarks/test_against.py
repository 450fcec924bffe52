"""Ratios to an earlier measurement: worse is worse in either direction, and only like is judged by like."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.against import Ratio, Slower, compare, read_earlier, require_same_machine
from benchmarks.latency import STAGES, TOTAL, Latency
from benchmarks.measurement import Effort, Measured, document
from benchmarks.process_tree import Usage
from benchmarks.reaction import Reaction
from benchmarks.spread import spread_of
from benchmarks.throughput import EngineRow
from edge.errors import UsageError
from edge.values import EngineIdentity

USAGE = Usage(300_000_000, 320_000_000, 1, 100_000_000, 2.0)
SPREAD = spread_of([0.1] * 10)
REACTION = Reaction(0.5, 0, "ext4", 3.0, 0, SPREAD, SPREAD, SPREAD, 30.0, 0.002, 0.2, USAGE, USAGE, USAGE)
MEASURED = Measured(
    "phantoms", "f" * 64, 0.1, Effort(10, 2, (1, 2)), EngineIdentity("a" * 64, "openvino", "int8", "2026"), 2.0, USAGE,
    (EngineRow(1, 1, SPREAD, 10.0, 10.0, 0.1), EngineRow(2, 1, SPREAD, 10.0, 20.0, 0.1)),
    tuple(Latency(stage, SPREAD) for stage in (*STAGES, TOTAL)), REACTION,
)  # fmt: skip


def told(measured: Measured = MEASURED) -> dict[str, Any]:
    return json.loads(json.dumps(document(measured, "tiny")))


def times(factor: float) -> Measured:
    slow = spread_of([0.1 * factor] * 10)
    return replace(MEASURED, latencies=(*MEASURED.latencies[:-1], Latency(TOTAL, slow)))


def test_the_same_again_is_no_worse() -> None:
    comparison = compare(told(), told(), margin=0)
    assert {ratio.ratio for ratio in comparison.ratios} == {1.0}
    assert (comparison.worse, comparison.changed) == ((), ())
    comparison.require()
    figures = [ratio.figure for ratio in comparison.ratios]
    assert len(set(figures)) == len(figures) == 4 + 5 + 2 + 6


def test_beyond_the_margin_it_fails_and_names_the_figure() -> None:
    compare(told(), told(times(1.09)), margin=0.1).require()
    with pytest.raises(Slower, match=r"more than 10%: total 1.11 times\. Measure both again") as caught:
        compare(told(), told(times(1.11)), margin=0.1).require()
    assert caught.value.exit_code == 1
    compare(told(), told(times(0.5)), margin=0.1).require()


@pytest.mark.parametrize(
    ("figure", "worsen"),
    [
        ("engine, batch 2, throughput", lambda now: now["engine_rows"][1].update(throughput_qps=9.0)),
        ("engine, batch 1, latency", lambda now: now["engine_rows"][0]["latency"].update(median_s=0.111)),
        ("memory", lambda now: now["memory"].update(workers_rss_bytes=150_000_000)),
        ("reaction", lambda now: now["reaction"]["reaction"].update(median_s=0.111)),
        ("reaction besides infer", lambda now: now["reaction"]["besides_infer"].update(median_s=0.111)),
        ("daemon, CPU a radiograph", lambda now: now["reaction"].update(cpu_s=0.23)),
        ("daemon, memory", lambda now: now["reaction"]["at_end"].update(rss_bytes=400_000_000)),
    ],
)
def test_every_judged_figure_can_fail(figure: str, worsen: Callable[[dict[str, Any]], None]) -> None:
    now = told()
    worsen(now)
    assert [ratio.figure for ratio in compare(told(), now, margin=0.1).worse] == [figure]
    compare(now, told(), margin=0.1).require()  # better, the other way round


def test_a_single_stage_and_a_start_are_shown_and_not_judged() -> None:
    now = told(replace(MEASURED, start_s=9.0))
    now["latencies"][0]["spread"]["median_s"] = 0.5
    comparison = compare(told(), now, margin=0.1)
    assert {ratio.figure for ratio in comparison.ratios if ratio.ratio > 1.1} == {"decode", "start-up"}
    comparison.require()


def test_more_or_less_than_before_is_a_ratio_too() -> None:
    assert Ratio("idle", 0.0, 0.0).ratio == 1
    assert Ratio("idle", 0.0, 0.1).is_worse(0.5)


@pytest.mark.parametrize(
    ("expected", "change"),
    [
        ("machine processor was Abacus", lambda before: before["machine"].update(processor="Abacus")),
        ("engine bundle_id was bbb", lambda before: before["engine"].update(bundle_id="bbb")),
        ("engine precision was fp32", lambda before: before["engine"].update(precision="fp32")),
        ("radiographs files_sha256 was eee", lambda before: before.update(files_sha256="eee")),
        ("arrivals rate_per_s was 2", lambda before: before["reaction"].update(rate_per_s=2)),
    ],
)
def test_unlike_is_refused_or_shown_unjudged(expected: str, change: Callable[[dict[str, Any]], None]) -> None:
    before = told(times(0.01))
    change(before)
    with pytest.raises(UsageError, match=f"do not measure the same thing: {expected}.*--anyway"):
        compare(before, told(), margin=0.1)
    comparison = compare(before, told(), margin=0.1, anyway=True)
    assert comparison.differences[0].startswith(expected)
    comparison.require()


def test_another_machine_is_refused_before_anything_is_measured() -> None:
    before = told()
    before["machine"]["cores"] += 1
    with pytest.raises(UsageError, match="machine cores was"):
        require_same_machine(before, told()["machine"], anyway=False)
    require_same_machine(before, told()["machine"], anyway=True)


def test_other_versions_are_told() -> None:
    before = told()
    before["machine"]["versions"]["numpy"] = "1.0"
    assert compare(before, told(), margin=0).changed[0].startswith("version numpy was 1.0 and is ")


def test_one_without_the_daemon_is_compared_in_what_both_have() -> None:
    alone = replace(MEASURED, reaction=None, engine_rows=MEASURED.engine_rows[:1])
    for before, now in ((alone, MEASURED), (MEASURED, alone)):
        figures = [ratio.figure for ratio in compare(told(before), told(now), margin=0).ratios]
        assert figures[:3] == ["engine, batch 1, latency", "engine, batch 1, throughput", "decode"]
        assert not any("reaction" in figure for figure in figures)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema": "edge-cxr/bench/0"}', b"\xff"])
def test_other_files_are_no_measurements(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.json").write_bytes(content)
    with pytest.raises(UsageError, match="not edge-cxr/bench/1; measure again"):
        read_earlier(tmp_path / "other.json")
