"""Which backend answers where a GPU is at hand: the GPU by a plan that loads, else the CPU."""

from pathlib import Path

import pytest
from fake_cuda import PLAN, FakeCuda, FakeTensorRT, TooNewTensorRT
from tiny_bundle import write_tiny_bundle

from edge.bundle import Bundle, read_bundle
from edge.engines import open_engine
from edge.engines.cuda import Gpu
from edge.engines.opening import GpuPlace, place_on
from edge.engines.plans import PlanStore, plan_key
from edge.errors import BackendUnavailable, EngineError, PlanMissing


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


class Machine:
    """One GPU, and a plan for it where `plan` is given."""

    def __init__(
        self, bundle: Bundle, folder: Path, plan: bytes | None, tensorrt: type[FakeTensorRT] = FakeTensorRT
    ) -> None:
        self.cuda, self._tensorrt = FakeCuda(), tensorrt
        self.plans = PlanStore(folder / "plans", site_key=bytes(32))
        if plan is not None:
            flavour = self.find().flavour
            self.plans.keep(plan_key(bundle.model_bytes("fp32"), "fp32", flavour, self.cuda.gpu), plan)

    def find(self) -> GpuPlace:
        return GpuPlace(self.cuda, self._tensorrt(self.cuda).flavour())


def test_auto_takes_the_gpu_where_a_plan_is_kept(bundle: Bundle, tmp_path: Path) -> None:
    machine = Machine(bundle, tmp_path, PLAN)
    engine = open_engine(bundle, plans=machine.plans, find=machine.find)
    assert engine.identity.backend == "tensorrt"
    engine.close()
    assert machine.cuda.closed


@pytest.mark.parametrize(
    ("plan", "tensorrt", "told"),
    [
        (None, FakeTensorRT, "no plan is kept"),
        (b"a plan that does not load", FakeTensorRT, "cannot load the plan"),
        (PLAN, TooNewTensorRT, "does not start here"),
    ],
    ids=["no plan", "a plan that does not load", "too old a driver"],
)
def test_auto_takes_the_cpu_where_the_gpu_cannot_answer(
    bundle: Bundle, tmp_path: Path, plan: bytes | None, tensorrt: type[FakeTensorRT], told: str
) -> None:
    machine = Machine(bundle, tmp_path, plan, tensorrt)
    engine = open_engine(bundle, plans=machine.plans, find=machine.find)
    assert engine.identity.backend == "openvino"
    engine.close()
    assert machine.cuda.closed
    machine = Machine(bundle, tmp_path, plan, tensorrt)
    with pytest.raises(EngineError, match=told):
        open_engine(bundle, backend="tensorrt", plans=machine.plans, find=machine.find)


def test_how_to_build_a_missing_plan_names_the_state_folder(bundle: Bundle, tmp_path: Path) -> None:
    machine = Machine(bundle, tmp_path, None)
    command = f"edge-cxr build --precision fp32 --state {tmp_path} with the same --bundle"
    with pytest.raises(PlanMissing, match=f"Run: {command}"):
        open_engine(bundle, backend="tensorrt", plans=machine.plans, find=machine.find)


def test_tensorrt_for_rtx_runs_on_its_own_gpus_alone() -> None:
    cuda = FakeCuda(gpu=Gpu("Fake GPU", "1.0", "sm_90"))
    module = FakeTensorRT(cuda)
    with pytest.raises(BackendUnavailable, match=r"tensorrt-rtx 1\.2\.3 does not run on Fake GPU \(sm_90\).*tensorrt$"):
        place_on(cuda, module.flavour("tensorrt-rtx"))
    assert place_on(cuda, module.flavour("tensorrt")).cuda is cuda
    ada = FakeCuda()
    assert place_on(ada, module.flavour("tensorrt-rtx")).cuda is ada
