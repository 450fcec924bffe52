"""Radiographs that wait together go to the engine as one batch where it gains by that, and answer as if alone."""

import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine, mean_of
from numpy.typing import NDArray
from reports import source
from single_stages import pipeline_in, seen
from tiny_bundle import write_tiny_bundle

from edge.config import Config
from edge.daemon import Daemon
from edge.engines import Engine, Outputs
from edge.engines.openvino_cpu import OpenVINOEngine
from edge.errors import NotFinite
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.pipeline import Pipeline
from edge.stages import Ask, Taken
from edge.values import Crop, Decoded, ModelInput, Report

SIDE = 1024


class Batches(FakeEngine):
    """Keeps the sizes of its batches. nameless: a picture this bright has no number."""

    gains_by = 8

    def __init__(self, *, nameless: float | None = None) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self._nameless = nameless

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        self.sizes.append(len(batch))
        outputs = mean_of(batch)
        broken = outputs.score == self._nameless
        return replace(outputs, score=np.where(broken, np.float32(np.nan), outputs.score))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return pipeline_in(tmp_path_factory.mktemp("bundle"))


def decoded(tmp_path: Path, grey: float) -> Taken:
    pixels = np.full((1, SIDE, SIDE), grey, np.float32)
    model_input = ModelInput(pixels, Crop(0, 0, 10, 10, 0, 0, SIDE, SIDE), "fake")
    return Taken(seen(tmp_path, f"{grey}.dcm"), 0.0, decoded=Decoded(source(round(grey * 100)), model_input, {}))


def asked(pipeline: Pipeline, engine: Engine, those: list[Taken]) -> list[float | None]:
    pipeline.engine = engine
    return [None if each.answer is None else each.answer.prediction.score for each in Ask(pipeline)(those)]


def test_all_that_wait_are_one_batch_in_their_order(pipeline: Pipeline, tmp_path: Path) -> None:
    engine = Batches()
    those = [decoded(tmp_path, grey) for grey in (0.75, 0.25, 0.5)]
    assert asked(pipeline, engine, those) == [0.75, 0.25, 0.5]
    assert engine.sizes == [3]
    assert Ask(pipeline).most() == 8


def test_a_refused_one_among_them_needs_no_answer(pipeline: Pipeline, tmp_path: Path) -> None:
    refused = Taken(seen(tmp_path, "refused.dcm"), 0.0)
    those = [decoded(tmp_path, 0.75), refused, decoded(tmp_path, 0.25)]
    assert asked(pipeline, Batches(), those) == [0.75, None, 0.25]


def test_a_lone_one_is_left_to_its_own_step(pipeline: Pipeline, tmp_path: Path) -> None:
    engine = Batches()
    assert asked(pipeline, engine, [Taken(seen(tmp_path, "refused.dcm"), 0.0), decoded(tmp_path, 0.5)]) == [None, None]
    assert engine.sizes == []


def test_one_without_a_number_does_not_cost_the_others_theirs(pipeline: Pipeline, tmp_path: Path) -> None:
    """Each is asked again by its own step, and the one without says so there."""
    those = [decoded(tmp_path, grey) for grey in (0.25, 0.5)]
    assert asked(pipeline, Batches(nameless=0.25), those) == [None, None]
    nameless, named = (each.decoded for each in those)
    assert nameless is not None and named is not None
    with pytest.raises(NotFinite):
        pipeline.ask([nameless])
    report = pipeline.score(named)
    assert report.prediction is not None and report.prediction.score == 0.5


def test_a_cpu_answers_one_after_the_other() -> None:
    assert OpenVINOEngine.gains_by == 1


def test_a_box_that_batches_gives_the_results_of_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for seed in range(12):
        write_dicom(render(seed, ("other", "covid")[seed % 2], longest_side=256), incoming / f"{seed}.dcm")
    (incoming / "none.txt").write_text("not a radiograph")
    sizes: list[int] = []
    infer = OpenVINOEngine.infer

    def counted(engine: OpenVINOEngine, batch: NDArray[np.float32]) -> Outputs:
        sizes.append(len(batch))
        time.sleep(0.2)  # longer than decoding takes, so that others wait
        return infer(engine, batch)

    monkeypatch.setattr(OpenVINOEngine, "infer", counted)

    def told(state: str) -> dict[str, tuple[float | None, str | None]]:
        reports: list[Report] = []
        config = Config(state=str(tmp_path / state), bundle=str(bundle), listen="")
        Daemon(
            config,
            incoming,
            once=True,
            logger=logging.Logger("quiet"),
            on_report=lambda _, report: reports.append(report),
        ).run()
        assert len(reports) == 13
        return {each.case_id: (each.prediction and each.prediction.score, each.reason) for each in reports}

    alone = told("alone")
    assert set(sizes) == {1}
    monkeypatch.setattr(OpenVINOEngine, "gains_by", 4)
    for case_id, (score, reason) in told("together").items():
        assert (score, reason) == (pytest.approx(alone[case_id][0], abs=1e-6), alone[case_id][1])
    assert 1 < max(sizes) <= 4
