"""What is asked at the command line is answered by the plan that the box keeps, and by its ledger where wanted."""

from dataclasses import replace
from pathlib import Path

import pytest
from fake_cuda import PLAN, FakeCuda, FakeTensorRT
from reports import scored, sha
from tiny_bundle import REFERENCE_CASES, write_tiny_bundle

from edge.bundle import read_bundle
from edge.config import Config
from edge.engines import open_engine
from edge.engines.opening import GpuPlace
from edge.engines.plans import PlanStore, plan_key
from edge.errors import UsageError
from edge.outputs.report_json import encode
from edge.phantom import render
from edge.phantom_dicom import write_png
from edge.reading_room import open_pipeline, similar_cases
from edge.state import open_state
from edge.store import Ledger


@pytest.mark.parametrize("kept", [True, False])
def test_the_gpu_answers_where_the_state_folder_keeps_its_plan(tmp_path: Path, kept: bool) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    bundle = read_bundle(folder)
    cuda, cpu = FakeCuda(), open_engine(bundle, backend="openvino")
    flavour = FakeTensorRT(cuda, cpu.infer).flavour()
    state = open_state(tmp_path / "state")
    if kept:
        key = plan_key(bundle.model_bytes("fp32"), "fp32", flavour, cuda.gpu)
        PlanStore(state.plans, site_key=state.site_key).keep(key, PLAN)
    config = Config(bundle=str(folder), state=str(state.root))
    with open_pipeline(config, find=lambda: GpuPlace(cuda, flavour)) as pipeline:
        assert pipeline.engine.identity.backend == ("tensorrt" if kept else "openvino")
    assert cuda.closed


@pytest.mark.parametrize("included", [True, False])
def test_similar_cases_are_sought_in_the_ledger_where_that_is_wanted(tmp_path: Path, included: bool) -> None:
    folder, state = write_tiny_bundle(tmp_path / "tiny"), open_state(tmp_path / "state")
    config = Config(bundle=str(folder), state=str(state.root), include_earlier_cases=included, neighbours=30)
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for number in (101, 102, 103):
            report = replace(scored(number), bundle_id=read_bundle(folder).id)
            ledger.record(report, encode(report), None)
    by_case = [near.case_id for near in similar_cases(sha(101)[:16], config)]
    earlier = {sha(102)[:16], sha(103)[:16]} if included else set()
    assert set(by_case) == {f"{number:016x}" for number in range(REFERENCE_CASES)} | earlier
    assert len(by_case) == REFERENCE_CASES + len(earlier)
    write_png(render(1, "covid", longest_side=256), tmp_path / "chest.png")
    by_file = {near.case_id for near in similar_cases(str(tmp_path / "chest.png"), config)}
    assert by_file - set(by_case) == ({sha(101)[:16]} if included else set())
    with pytest.raises(UsageError, match="has no score from bundle"):
        similar_cases(sha(104)[:16], config)
