"""`edge-cxr export`: graphs and their parity, on a GPU too where there is one; plans by torch-tensorrt for the box."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_cuda import PLAN, DataType, FakeCuda, FakeCudaEngine, FakeTensorRT
from fake_torch_tensorrt import FakeCompiler, FakeDynamo
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.cli import main
from edge.engines import Engine, Outputs
from edge.engines.cuda import Gpu
from edge.engines.flavours import Flavour
from edge.engines.opening import GpuPlace, open_tensorrt
from edge.engines.plans import PlanStore, plan_key, record_of, write_plan
from edge.errors import BackendUnavailable, EngineError, PlanMissing
from edge.imaging.preprocess import Preprocessing
from edge.signature import public_key_of, sign
from edge.state import open_state
from export.fused import Fused
from export.loose_graphs import bundle_of
from export.parity import compare
from export.proof import ask_graphs, ask_torch
from export.torch_route import Machine, open_route
from training.model import Classifier, ClassifierArchitecture, LungArchitecture, save_checkpoint

rtx = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is built for other processors")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's exporter
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]
BY_TORCH, BY_ONNX = 0.125, 0.25  # what the fake GPU adds to every score, by what made the plan
NO_GPU = "no GPU is here; buy one"


class RtxOnAFakeGpu:
    """The module tensorrt_rtx, which builds without a GPU; only its runtime is a fake, and answers as `fused` does."""

    DataType = DataType
    ExecutionContextAllocationStrategy = FakeTensorRT.ExecutionContextAllocationStrategy

    def __init__(self, cuda: FakeCuda, fused: Fused) -> None:
        self._cuda, self._fused = cuda, fused

    def __getattr__(self, name: str) -> Any:
        return getattr(rtx, name)

    def Runtime(self, log: Any) -> "RtxRuntime":  # noqa: N802 - TensorRT's name
        return RtxRuntime(self._cuda, self._fused, log)


class RtxRuntime:
    def __init__(self, cuda: FakeCuda, fused: Fused, log: Any) -> None:
        self._cuda, self._fused, self._log = cuda, fused, log

    def deserialize_cuda_engine(self, plan: bytes) -> FakeCudaEngine | None:
        """PLAN is torch-tensorrt's; of a graph no small one is built."""
        if plan != PLAN and len(plan) < 10_000:
            return None
        more = BY_TORCH if plan == PLAN else BY_ONNX

        def answer(pixels: NDArray[np.float32]) -> Outputs:
            with torch.inference_mode():
                outputs = Outputs(*(part.numpy() for part in self._fused(torch.from_numpy(pixels))))
            return replace(outputs, score=outputs.score + np.float32(more))

        return FakeCudaEngine(FakeTensorRT(self._cuda, answer), self._log)


class Shop:
    """A machine with a fake GPU and a fake torch-tensorrt, built on the TensorRT that it is told."""

    def __init__(self, fused: Fused, *, built_on: str = "tensorrt_rtx") -> None:
        self.fused, self.gpu = fused, Gpu("Fake GPU", "1.0", "sm_89")
        self.cudas: list[FakeCuda] = []
        self.compiler = FakeCompiler(tensorrt_package_name=built_on)
        self.machine = Machine(find=self.find, open_compiler=lambda: self.compiler)

    def find(self) -> GpuPlace:
        self.cudas.append(FakeCuda(gpu=self.gpu))
        module = RtxOnAFakeGpu(self.cudas[-1], self.fused)
        return GpuPlace(self.cudas[-1], Flavour("tensorrt-rtx", rtx.__version__, module))


def no_gpu() -> GpuPlace:
    raise BackendUnavailable(NO_GPU)


@pytest.fixture(scope="module")
def network(fused: Fused, classifier: Callable[[int], Classifier]) -> Fused:
    """With one member: to export two takes twice as long."""
    return Fused(fused.lungs, [classifier(1)], side=fused.side)


@pytest.fixture(scope="module")
def trained(network: Fused, classifier: Callable[[int], Classifier], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`network` as a folder of checkpoints, such as training leaves them."""
    folder = tmp_path_factory.mktemp("trained")
    made_by = {"preprocessing_digest": Preprocessing().digest}
    save_checkpoint(folder / "lungs/best", network.lungs, LungArchitecture(depth=3, widths=(8, 8, 8)), made_by)
    member = ClassifierArchitecture("tiny", "resnet18", (8, 8, 16, 16), side=network.side)
    save_checkpoint(folder / "member/best", classifier(1), member, made_by)
    return folder


def run(trained: Path, out: Path, machine: Machine | None, *arguments: object) -> Result:
    named = ["--lungs", trained / "lungs/best", "--member", trained / "member/best", "--out", out]
    command = [str(argument) for argument in ("export", *named, *arguments)]
    return CliRunner().invoke(main, command, obj=machine, catch_exceptions=False)


def plans_of(folder: Path) -> PlanStore:
    state = open_state(folder)
    return PlanStore(state.plans, site_key=state.site_key)


def served(bundle: Bundle, precision: str, plans: PlanStore, shop: Shop) -> Engine:
    """The engine that the box would open; raises PlanMissing."""
    engine = open_tensorrt(bundle, precision, plans, find=shop.find)
    engine.close()
    return engine


def test_without_a_gpu_only_openvino_is_asked_and_the_reason_told(fused: Fused, graph: Path) -> None:
    said: list[str] = []
    inputs = np.random.default_rng(0).random((2, 1, 1024, 1024), np.float32)
    bundle = bundle_of(graph.parent, ("fp32",), name="loose", members=("a", "b"))
    ((name, answers),) = ask_graphs(graph.parent, bundle, inputs, no_gpu, say=said.append)
    assert name == "OpenVINO fp32"
    assert compare(ask_torch(fused, inputs), answers).score_change_max < 0.001
    assert said == [f"TensorRT was not asked: {NO_GPU}"]


def test_on_a_gpu_the_table_has_both_routes_and_the_box_finds_the_plan(
    network: Fused, trained: Path, tmp_path: Path
) -> None:
    shop = Shop(network)
    graphs, state = tmp_path / "graphs", tmp_path / "state"
    asked = ("--compiler", "torch-tensorrt", "--precision", "fp16", "--state", state)
    done = run(trained, graphs, shop.machine, *asked)
    assert done.exit_code == 0, done.stderr
    assert "was not asked" not in done.stderr
    told = json.loads(done.stdout)
    added = {"OpenVINO fp32": 0.0, "OpenVINO fp16": 0.0, "TensorRT fp32": BY_ONNX, "TensorRT fp16": BY_ONNX,
             "torch-tensorrt fp16": BY_TORCH}  # fmt: skip
    assert told["parity"].keys() == added.keys()
    for name, parity in told["parity"].items():
        assert parity["score_change_mean"] == pytest.approx(added[name], abs=0.01), name
        assert any(line.startswith(f"{name} ") for line in done.stderr.splitlines())
    assert Path(told["plans"].pop("fp16")).read_bytes() == PLAN
    assert not told["plans"]
    bundle = bundle_of(graphs, ("fp32", "fp16"), name="loose", members=("tiny",))
    engine = served(bundle, "fp16", plans_of(state), shop)
    assert engine.identity.version == f"tensorrt-rtx {rtx.__version__} (torch-tensorrt)"
    with pytest.raises(PlanMissing):
        served(bundle, "fp32", plans_of(state), shop)
    assert all(cuda.closed for cuda in shop.cudas)


def test_a_plan_answers_for_one_graph_and_waits_behind_the_one_by_onnx(
    fused: Fused, graph: Path, tmp_path: Path
) -> None:
    shop, inputs = Shop(fused), np.zeros((1, 1, 1024, 1024), np.float32)
    bundle = bundle_of(graph.parent, ("fp32",), name="loose", members=("a", "b"))
    kept, answers = open_route(tmp_path / "state", shop.machine).make(fused, bundle, "fp32", inputs)
    assert (kept.second, answers.score.shape) == (False, (1,))
    plans = plans_of(tmp_path / "state")
    (tmp_path / "model.fp32.onnx").write_bytes(bundle.model_bytes("fp32") + b"\0")
    other = bundle_of(tmp_path, ("fp32",), name="loose", members=("a", "b"))
    with pytest.raises(PlanMissing, match=r": no plan is kept\. Run: edge-cxr build --precision fp32"):
        served(other, "fp32", plans, shop)
    shop.gpu = replace(shop.gpu, compute_capability="sm_86")
    stale = r"no plan is kept; by torch-tensorrt the plan kept was built for compute_capability sm_89, not sm_86\. Run"
    with pytest.raises(PlanMissing, match=stale):
        served(bundle, "fp32", plans, shop)
    shop.gpu = replace(shop.gpu, compute_capability="sm_89")

    place = shop.find()
    plans.keep(plan_key(bundle.model_bytes("fp32"), "fp32", place.flavour, place.cuda.gpu), bytes(20_000))
    place.cuda.close()
    assert kept.path.exists()
    again, _ = open_route(tmp_path / "state", shop.machine).make(fused, bundle, "fp32", inputs)
    assert (again.path, again.second) == (kept.path, True)
    assert served(bundle, "fp32", plans, shop).identity.version == f"tensorrt-rtx {rtx.__version__}"


def test_a_plan_by_onnx_that_was_signed_ahead_of_time_goes_first_where_its_key_is_trusted(
    network: Fused, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, signer = Shop(network), Ed25519PrivateKey.generate()
    graphs, state = tmp_path / "graphs", tmp_path / "state"
    asked = ("--compiler", "torch-tensorrt", "--precision", "fp16", "--state", state)
    assert "by way of ONNX that it holds too" not in run(trained, graphs, shop.machine, *asked).stderr
    place = shop.find()
    key = plan_key((graphs / "model.fp16.onnx").read_bytes(), "fp16", place.flavour, place.cuda.gpu)
    place.cuda.close()
    record = record_of(key, PLAN)
    write_plan(state / "plans", key, PLAN, record, sign(record, signer).line)
    monkeypatch.setenv("EDGE_CXR_TRUSTED_KEYS", public_key_of(signer))
    assert "by way of ONNX that it holds too" in run(trained, graphs, shop.machine, *asked).stderr


@pytest.mark.parametrize(
    ("machine", "told"),
    [
        pytest.param(None, "torch-tensorrt needs an NVIDIA GPU", id="as it is",
                     marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")),
        pytest.param(Machine(find=no_gpu, open_compiler=FakeCompiler), NO_GPU, id="the box sees no GPU"),
    ],
)  # fmt: skip
def test_without_a_gpu_torch_tensorrt_is_refused_before_anything_is_written(
    machine: Machine | None, told: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the state folder would lie
    done = run(trained, tmp_path / "graphs", machine, "--compiler", "torch-tensorrt")
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert told in line
    assert not list(tmp_path.iterdir())


def test_a_torch_tensorrt_that_the_box_cannot_follow_is_refused(fused: Fused, tmp_path: Path) -> None:
    shop = Shop(fused, built_on="tensorrt")
    with pytest.raises(BackendUnavailable, match=r"makes plans for tensorrt, and the box here runs tensorrt-rtx"):
        open_route(tmp_path / "state", shop.machine)
    assert not (tmp_path / "state").exists()
    assert all(cuda.closed for cuda in shop.cudas)


def test_a_plan_that_the_box_cannot_run_is_not_kept(fused: Fused, graph: Path, tmp_path: Path) -> None:
    shop = Shop(fused)
    shop.compiler.dynamo = FakeDynamo(plan=b"no plan")
    bundle = bundle_of(graph.parent, ("fp32",), name="loose", members=("a", "b"))
    route = open_route(tmp_path / "state", shop.machine)
    with pytest.raises(EngineError, match="TensorRT cannot load the plan"):
        route.make(fused, bundle, "fp32", np.zeros((1, 1, 1024, 1024), np.float32))
    assert not list((tmp_path / "state").glob("plans/*"))
    assert all(cuda.closed for cuda in shop.cudas)


@pytest.mark.parametrize("arguments", [("--precision", "fp16"), ("--state", "state")])
def test_what_is_for_plans_needs_their_compiler(arguments: tuple[str, str], trained: Path, tmp_path: Path) -> None:
    done = run(trained, tmp_path / "graphs", None, *arguments)
    assert done.exit_code == 2
    assert "--compiler torch-tensorrt" in done.stderr
    assert not list(tmp_path.iterdir())
