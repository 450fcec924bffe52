"""A candidate in the shadow: what it says is recorded and nothing else, and nothing waits for it."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from reports import scored, sha
from running_daemon import Kept, running, wait_until
from shelf_bundles import key_of, used_state, variant, wrong
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.box import Box
from edge.bundle import Bundle, open_bundle
from edge.cli import main
from edge.config import Config
from edge.daemon import Daemon
from edge.metrics import Metrics
from edge.outputs.report_json import encode
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.shadow import Shadow
from edge.shadow_pairs import NEEDED, ShadowPair, Verdict
from edge.shelf_changes import install
from edge.snapshot import snapshot
from edge.stages import Taken
from edge.standing import Standing
from edge.state import StateFolder
from edge.store import Ledger
from edge.upkeep import Upkeep
from edge.values import Report, Sighting


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its score of the phantoms is below 0.9, and so negative."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", operating_point=0.999)


@pytest.fixture(scope="module")
def eager(tiny: Path) -> Path:
    """The same network, which calls everything positive."""
    return variant(tiny, tiny.with_name("eager"), name="eager", point=0.0)


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("radiographs")
    for seed in range(4):
        write_dicom(render(seed, "covid", longest_side=128), folder / f"{seed}.dcm")
    return sorted(folder.iterdir())


class Stage:
    """A box whose daemon is not run: radiographs get a result as if it were, and the shadow is real."""

    def __init__(
        self, opened: ExitStack, folder: Path, active: Path, shadow: str, *, once: bool = False, **further: Any
    ) -> None:
        self.state: StateFolder = used_state(folder / "state")
        self.ledger = opened.enter_context(Ledger(self.state.ledger, site_key=self.state.site_key))
        self.log, self.metrics = Kept(), Metrics()
        config = Config(state=str(self.state.root), shadow=shadow, backend="openvino", **further)
        self.active: Bundle = open_bundle(str(active))
        nothing: Any = None
        standing = Standing(self.log.logger)
        box = Box(folder, self.state, self.ledger, self.metrics, standing, nothing, self.log.logger, once=once)
        self.shadow = Shadow(box, config, self.active)
        self.is_idle = True
        self.told: list[Report] = []
        self._on_report = self.shadow.after(lambda _, report: self.told.append(report))

    def finish(self, path: Path, *, score: float = 0.25, **changes: Any) -> str:
        """Through `decode` and `write` of the line. Returns the digest."""
        sighting = Sighting(path, 1, 1, 1)
        with snapshot(path) as frozen:
            self.shadow.around(lambda taken: taken)(Taken(sighting, 0.0, frozen))
            sha256 = frozen.sha256
        told = {"sha256": sha256, "bundle_id": self.active.id, "timings_s": {"infer": 0.1}, "positive": False}
        report = replace(scored(1, score=score), **{**told, **changes})
        self.ledger.record(report, encode(report), None)
        self._on_report(sighting, report)
        return sha256

    def counted(self, outcome: str, count: int) -> bool:
        return f'edge_cxr_shadow_studies_total{{outcome="{outcome}"}} {count}.0\n' in self.metrics.exposition().decode()

    def samples(self) -> list[str]:
        """Outcomes that were counted."""
        lines = stage_lines(self.metrics)
        return [line.split('"')[1] for line in lines if not line.endswith(" 0.0")]

    def pairs(self) -> list[ShadowPair]:
        return self.ledger.shadow_pairs("")

    def beside(self) -> Any:
        return self.shadow.beside(lambda: self.is_idle)


def stage_lines(metrics: Metrics) -> list[str]:
    lines = metrics.exposition().decode().splitlines()
    return [line for line in lines if line.startswith("edge_cxr_shadow_studies_total{")]


@pytest.fixture
def make(tmp_path: Path, tiny: Path) -> Iterator[Callable[..., Stage]]:
    with ExitStack() as opened:
        yield lambda shadow, **further: Stage(opened, tmp_path, tiny, str(shadow), **further)


def test_the_candidate_has_its_say_once_nothing_is_in_flight(
    make: Callable[..., Stage], eager: Path, radiographs: list[Path]
) -> None:
    stage = make(eager)
    with stage.beside():
        wait_until(lambda: any("in the shadow" in line for line in stage.log.lines))
        stage.is_idle = False
        digests = [stage.finish(path) for path in radiographs[:2]]
        wait_until(lambda: len(stage.told) == 2)  # which does not wait
        time.sleep(0.5)
        assert len(stage.shadow._queue) == held_radiographs() == 2
        stage.is_idle = True
        wait_until(lambda: stage.counted("flipped", 2))
        wait_until(lambda: held_radiographs() == 0)
    pairs = stage.pairs()
    assert [pair.sha256 for pair in pairs] == digests
    for pair in pairs:
        assert (pair.active_id, pair.candidate_id) == (stage.active.id, open_bundle(str(eager)).id)
        assert pair.active == Verdict(0.25, False, None, 0.1)
        assert pair.candidate.positive
        assert pair.candidate.score is not None
        assert pair.candidate.engine_s is not None
    assert not (stage.state.root / "results").exists()


def held_radiographs() -> int:
    """In memory."""
    links = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum("memfd:radiograph" in name for name in links)


def test_one_that_arrives_meanwhile_goes_before_the_candidates_engine(
    make: Callable[..., Stage], eager: Path, radiographs: list[Path]
) -> None:
    stage = make(eager)
    stage.finish(radiographs[0])
    stage.is_idle = False
    with stage.shadow.beside(lambda: stage.is_idle or len(stage.shadow._queue) > 0):  # until it is taken
        wait_until(lambda: len(stage.shadow._queue) == 0)
        time.sleep(1.0)
        assert stage.pairs() == []
        stage.is_idle = True
        wait_until(stage.pairs)


def test_a_candidate_is_asked_its_known_answers_only_when_nothing_is_in_flight(
    make: Callable[..., Stage], eager: Path
) -> None:
    """And a stop does not wait for them."""
    stage = make(eager)
    asked = [True, True]  # before it is opened, and before its engine is
    with stage.shadow.beside(lambda: bool(asked) and asked.pop()):
        wait_until(lambda: not asked)
        time.sleep(1.0)
    assert stage.log.lines == []


def test_a_candidate_that_does_not_come_to_an_end_holds_nothing_up(
    make: Callable[..., Stage], eager: Path, radiographs: list[Path]
) -> None:
    """Neither a stop nor another bundle."""

    class Stuck:
        asked, goes_on = threading.Event(), threading.Event()

        def record_shadow(self, pair: ShadowPair) -> bool:
            self.asked.set()
            return self.goes_on.wait(60)

    stage, stuck = make(eager), Stuck()
    ledger: Any = stuck
    stage.shadow = Shadow(replace(stage.shadow._box, ledger=ledger), stage.shadow._config, stage.active, patience_s=0.2)
    stage._on_report = stage.shadow.after(lambda _, report: None)
    with stage.beside():
        stage.finish(radiographs[0])
        wait_until(stuck.asked.is_set)
    assert any("has not come to its end and is left" in line for line in stage.log.lines)
    stuck.goes_on.set()
    wait_until(lambda: not any(thread.name == "shadow" for thread in threading.enumerate()))
    assert held_radiographs() == 0


def test_a_file_that_will_not_decode_holds_no_stop_up(
    make: Callable[..., Stage], eager: Path, radiographs: list[Path]
) -> None:
    stage = make(eager, decode_limit_s=3600.0)
    with stage.beside():
        wait_until(lambda: any("in the shadow" in line for line in stage.log.lines))
        decoder = stage.shadow._decoder
        assert decoder is not None
        assert decoder.pid is not None
        os.kill(decoder.pid, signal.SIGSTOP)
        stage.finish(radiographs[0])
        wait_until(lambda: len(stage.shadow._queue) == 0)
    assert stage.pairs() == []
    assert not any("has ended" in line for line in stage.log.lines)


def test_a_gate_of_one_alone_is_told(
    make: Callable[..., Stage], tiny: Path, radiographs: list[Path], tmp_path: Path
) -> None:
    strict = variant(tiny, tmp_path / "strict", name="strict")
    write_manifest(strict, low=0.99, name="strict")
    stage = make(strict)
    with stage.beside():
        stage.finish(radiographs[0])
        wait_until(lambda: stage.counted("only_active", 1))
    (pair,) = stage.pairs()
    assert pair.candidate == Verdict(None, None, "no_lungs", pair.candidate.engine_s)


def test_what_the_engine_was_not_asked_about_is_not_compared(
    make: Callable[..., Stage], eager: Path, radiographs: list[Path]
) -> None:
    stage = make(eager)
    with stage.beside():
        stage.finish(radiographs[0], timings_s={})
        stage.finish(radiographs[1])
        wait_until(stage.pairs)
    assert len(stage.pairs()) == 1
    assert stage.samples() == ["flipped"]


def test_what_finds_no_room_is_counted(make: Callable[..., Stage], eager: Path, tmp_path: Path) -> None:
    stage = make(eager)
    stage.is_idle = False
    with stage.beside():
        for number in range(18):
            path = tmp_path / f"{number}.dcm"
            path.write_bytes(bytes([number]))
            stage.finish(path)
        assert stage.counted("skipped", 2)
    assert stage.pairs() == []


def test_of_a_case_that_was_forgotten_meanwhile_nothing_is_kept(
    make: Callable[..., Stage], eager: Path, radiographs: list[Path]
) -> None:
    stage = make(eager)
    stage.is_idle = False
    with stage.beside():
        gone = stage.finish(radiographs[0])
        kept = stage.finish(radiographs[1])
        with Upkeep(stage.state.ledger, site_key=stage.state.site_key) as upkeep:
            upkeep.forget(upkeep.mentions(gone[:16]), lambda text: text, lambda document: None)
        stage.is_idle = True
        wait_until(stage.pairs)
    assert [pair.sha256 for pair in stage.pairs()] == [kept]
    assert stage.counted("flipped", 1)


@pytest.mark.parametrize("fault", ["wrong answers", "nowhere", "itself", "another finding"])
def test_a_candidate_that_cannot_be_used_ends_the_shadow_and_nothing_else(
    make: Callable[..., Stage], tiny: Path, radiographs: list[Path], tmp_path: Path, fault: str
) -> None:
    places = {"wrong answers": wrong(tiny, tmp_path / "wrong"), "nowhere": tmp_path / "nowhere", "itself": tiny,
              "another finding": variant(tiny, tmp_path / "other", name="other")}  # fmt: skip
    write_manifest(places["another finding"], name="other", labels=["other", "effusion"])
    stage = make(places[fault])
    with stage.beside():
        wait_until(lambda: any("has ended" in line for line in stage.log.lines))
        stage.finish(radiographs[0])
        assert stage.counted("skipped", 1)
        assert len(stage.told) == 1
    (told,) = [line for line in stage.log.lines if "has ended" in line]
    expected = {"wrong answers": "known-answer test failed", "nowhere": "is no bundle of this box",
                "itself": "it is the bundle that scores",
                "another finding": "its score is of effusion and not other"}  # fmt: skip
    assert expected[fault] in told


def test_without_the_setting_and_in_a_single_run_there_is_none(
    make: Callable[..., Stage], eager: Path, radiographs: list[Path]
) -> None:
    for stage in (make(""), make(eager, once=True)):
        assert not stage.shadow.is_on
        decode = lambda taken: taken  # noqa: E731
        assert stage.shadow.around(decode) is decode
        with stage.beside():
            stage.finish(radiographs[0])
        assert stage.pairs() == []
        assert stage.samples() == []


def test_a_daemon_and_its_shadow(tiny: Path, eager: Path, radiographs: list[Path], tmp_path: Path) -> None:
    """No trace in the results; `edge-cxr bundle compare` has it."""
    incoming, state = tmp_path / "incoming", used_state(tmp_path / "state")
    incoming.mkdir()
    plain = Config(state=str(state.root), bundle=str(tiny), listen="", scan_s=0.5, backend="openvino")
    install(eager, state, plain)
    reports: list[Report] = []
    daemon = Daemon(
        replace(plain, shadow="eager"),
        incoming,
        once=False,
        logger=Kept().logger,
        on_report=lambda _, report: reports.append(report),
    )
    with running(daemon):
        for path in radiographs[:3]:
            (incoming / path.name).write_bytes(path.read_bytes())
        wait_until(lambda: 'shadow_studies_total{outcome="flipped"} 3.0' in daemon._metrics.exposition().decode())
    assert len(reports) == 3
    assert [path.name for path in (state.root / "results").iterdir()] == [key_of(tiny)]
    assert {report.positive for report in reports} == {False}
    for path in (state.root / "results").rglob("*.json"):
        assert key_of(eager) not in path.read_text()

    def compared(*more: str) -> str:
        told = CliRunner().invoke(main, ["bundle", "compare", *more, "--state", str(state.root)])
        assert told.exit_code == 0, told.output
        return told.stdout

    assert compared("eager").splitlines() == [
        f"{key_of(eager)} in the shadow of {key_of(tiny)}",
        f"too few: 3 radiograph(s), and {NEEDED} are needed before they tell anything",
    ]
    assert json.loads(compared(str(eager), "--json"))["enough"] is False


def test_enough_radiographs_are_told_with_intervals(tmp_path: Path) -> None:
    state = used_state(tmp_path / "state")
    yes, no = Verdict(0.75, True, None, 0.2), Verdict(0.25, False, None, 0.1)
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for number in range(NEEDED + 1):
            report = scored(number)
            ledger.record(report, encode(report), None)
            candidate = "d" * 64 if number < NEEDED else "e" * 64
            ledger.record_shadow(ShadowPair(sha(number), report.bundle_id, candidate, yes, no if number < 3 else yes))

    def compared(*more: str) -> Any:
        return CliRunner().invoke(main, ["bundle", "compare", *more, "--state", str(state.root)])

    lines = compared("dddd").stdout.splitlines()
    assert lines[1:] == [
        "300 radiographs",
        "verdicts: 297 of 300 (99.0%, 97.1% to 99.7%) the same; 0 of 300 (0.0%, 0.0% to 1.3%) from negative to "
        "positive, 3 of 300 (1.0%, 0.3% to 2.9%) from positive to negative",
        "scored by the active one alone: 0 of 300 (0.0%, 0.0% to 1.3%); by the candidate alone: 0 of 300 "
        "(0.0%, 0.0% to 1.3%)",
        "scores differ by 0.005 on average and 0.500 at most; the candidate's are -0.005 off",
        "the candidate's engine takes 1.00 times as long",
    ]
    told = json.loads(compared("d" * 12, "--json").stdout)
    assert (told["to_negative"]["count"], told["to_negative"]["total"], told["enough"]) == (3, 300, True)
    unknown = compared("feed")
    assert unknown.exit_code == 2
    assert "no radiograph was scored by feed in the shadow" in unknown.stderr
    assert compared("nobody").exit_code == 2
