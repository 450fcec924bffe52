"""What is asked at the command line is answered by the plan that the box keeps."""

from pathlib import Path

import pytest
from fake_cuda import PLAN, FakeCuda, FakeTensorRT
from tiny_bundle import write_tiny_bundle

from edge.bundle import read_bundle
from edge.config import Config
from edge.engines import open_engine
from edge.engines.opening import GpuPlace
from edge.engines.plans import PlanStore, plan_key
from edge.reading_room import open_pipeline
from edge.state import open_state


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
