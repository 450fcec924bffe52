"""One contract for every engine: shapes, ownership, order, refusals. A fake and the real backends run the same."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_cuda import PLAN, FakeCuda, FakeTensorRT
from fake_engine import FakeEngine
from tiny_bundle import PROVEN, tiny_network, write_manifest, write_tiny_bundle

from edge.bundle import Bundle, read_bundle
from edge.engines import Engine, Outputs, open_engine, predict
from edge.engines.base import OUTPUT_NAMES
from edge.engines.opening import find_gpu
from edge.engines.tensorrt_gpu import TensorRTEngine
from edge.errors import BackendUnavailable, EngineError, PlanMissing, UsageError
from edge.values import Crop, ModelInput
from export.plan import build_plan

SIDE = 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(params=["fake", "openvino", "tensorrt on a fake GPU", pytest.param("tensorrt", marks=pytest.mark.gpu)])
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    opened = OPENED[request.param](read_bundle(folder))
    yield opened
    opened.close()


def on_a_fake_gpu(bundle: Bundle) -> Engine:
    cuda = FakeCuda()
    return TensorRTEngine(bundle, "fp32", PLAN, flavour=FakeTensorRT(cuda).flavour(), cuda=cuda)


def on_the_gpu(bundle: Bundle) -> Engine:
    try:
        place = find_gpu()
    except BackendUnavailable as missing:
        pytest.skip(str(missing))
    targets = [place.cuda.gpu.compute_capability] if place.flavour.portable else []
    plan = build_plan(bundle.model_bytes("fp32"), place.flavour, targets=targets)
    return TensorRTEngine(bundle, "fp32", plan, flavour=place.flavour, cuda=place.cuda)


class Altered(FakeEngine):
    """Its first number of one output is another."""

    def __init__(self, name: str, number: float) -> None:
        super().__init__()
        self._name, self._number = name, number

    def _run(self, batch: np.ndarray) -> Outputs:
        outputs = super()._run(batch)
        getattr(outputs, self._name).flat[0] = self._number
        return outputs


OPENED: dict[str, Callable[[Bundle], Engine]] = {
    "fake": lambda bundle: FakeEngine(),
    "openvino": lambda bundle: open_engine(bundle, backend="openvino"),
    "tensorrt on a fake GPU": on_a_fake_gpu,
    "tensorrt": on_the_gpu,
}


def batch(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 1, SIDE, SIDE), np.float32)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_shapes_and_ranges(engine: Engine, count: int) -> None:
    outputs = engine.infer(batch(count))
    assert outputs.score.shape == (count,)
    assert outputs.member_scores.shape == (count, len(engine.members))
    assert outputs.embedding.shape == (count, 128)
    assert outputs.lung_mask.shape == (count, 1, 256, 256)
    assert outputs.evidence_map.shape == (count, 1, 32, 32)
    for values in (outputs.score, outputs.member_scores, outputs.lung_mask, outputs.evidence_map):
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() <= 1


@pytest.mark.parametrize("backend", ["openvino", "tensorrt on a fake GPU"])
def test_predictions_are_scaled_by_the_temperature_of_the_bundle_and_outputs_are_not(
    tmp_path: Path, backend: str
) -> None:
    scaled = write_tiny_bundle(tmp_path / "scaled")
    write_manifest(scaled, temperatures={"fp32": 2.0}, calibration=PROVEN)
    engine = OPENED[backend](read_bundle(scaled))
    pixels = batch(1) / 4
    raw = float(engine.infer(pixels).score[0])
    (prediction,) = predict(
        engine, [ModelInput(pixels[0], Crop(0, 0, 10, 10, 0, 0, SIDE, SIDE), engine.preprocessing_digest)]
    )
    engine.close()
    assert abs(raw - 0.5) > 0.01
    expected = raw**0.5 / (raw**0.5 + (1 - raw) ** 0.5)
    assert (prediction.score, prediction.calibrated) == (pytest.approx(expected), True)
    assert set(prediction.members.values()) == {raw}


def test_a_batch_answers_as_its_parts_do_in_order(engine: Engine) -> None:
    together = engine.infer(batch(3))
    for row in range(3):
        alone = engine.infer(batch(3)[row : row + 1])
        np.testing.assert_allclose(together.score[row], alone.score[0], atol=1e-5)
        np.testing.assert_allclose(together.embedding[row], alone.embedding[0], atol=1e-4)
    assert len(set(together.score.tolist())) == 3  # or the order would prove nothing


def test_outputs_belong_to_the_caller(engine: Engine) -> None:
    first = engine.infer(batch(1, seed=1))
    kept = {name: getattr(first, name).copy() for name in ("score", "embedding", "lung_mask", "evidence_map")}
    engine.infer(batch(1, seed=2))
    for name, values in kept.items():
        np.testing.assert_array_equal(getattr(first, name), values)
    first.lung_mask[:] = 0  # writable, and nobody else's


def test_input_is_not_modified(engine: Engine) -> None:
    given = batch(1)
    before = given.copy()
    engine.infer(given)
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 1, SIDE, SIDE), np.float64),
        np.zeros((1, SIDE, SIDE), np.float32),
        np.zeros((1, 3, SIDE, SIDE), np.float32),
        np.zeros((1, 1, 512, 512), np.float32),
        np.zeros((0, 1, SIDE, SIDE), np.float32),
        np.zeros((9, 1, SIDE, SIDE), np.float32),
    ],
    ids=["float64", "three dimensions", "three channels", "small", "empty", "nine"],
)
def test_a_wrong_batch_is_refused_with_what_came_and_what_is_wanted(engine: Engine, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be float32 \[1\.\.8, 1, 1024, 1024\]; it is") as refusal:
        engine.infer(wrong)
    assert str(list(wrong.shape)) in str(refusal.value)


def test_input_of_another_preprocessing_is_refused(engine: Engine) -> None:
    crop = Crop(0, 0, 10, 10, 0, 0, SIDE, SIDE)
    with pytest.raises(EngineError, match="preprocessed as"):
        predict(engine, [ModelInput(batch(1)[0], crop, "another digest")])
    (prediction,) = predict(engine, [ModelInput(batch(1)[0], crop, engine.preprocessing_digest)])
    assert prediction.members.keys() == set(engine.members)
    assert prediction.engine == engine.identity
    assert prediction.lung_mask.shape == (256, 256)


def test_an_answer_that_is_not_finite_is_an_engine_fault() -> None:
    with pytest.raises(EngineError, match="score is not finite"):
        FakeEngine(score=float("nan")).infer(batch(1))


@pytest.mark.parametrize("score", [7.0, -3.0, 1.00001, -0.00001])
@pytest.mark.parametrize("name", ["score", "member_scores", "lung_mask", "evidence_map"])
def test_an_answer_outside_0_and_1_is_an_engine_fault(name: str, score: float) -> None:
    with pytest.raises(EngineError, match=rf"the engine's {name} is .* not within 0 and 1; no result can be trusted"):
        Altered(name, score).infer(batch(2))


@pytest.mark.parametrize(("score", "kept"), [(np.nextafter(np.float32(1), np.float32(2)), 1.0), (-1e-7, 0.0)])
def test_what_rounding_put_outside_is_clipped_and_an_embedding_is_not(score: float, kept: float) -> None:
    for name in ("score", "member_scores", "lung_mask", "evidence_map"):
        assert getattr(Altered(name, score).infer(batch(1)), name).flat[0] == kept
    assert Altered("embedding", 7.0).infer(batch(1)).embedding[0, 0] == 7


def test_a_network_with_other_outputs_is_an_engine_fault(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    network = tiny_network()
    pool = next(node for node in network.graph.node if node.output[0] == "lung_mask")
    pool.input[0] = "radiograph"  # a mask at full size
    (folder / "model.fp32.onnx").write_bytes(network.SerializeToString())
    write_manifest(folder)
    engine = open_engine(read_bundle(folder), backend="openvino")
    with pytest.raises(EngineError, match=r"lung_mask is .* export the bundle again"):
        engine.infer(batch(1))


def test_a_model_that_is_no_onnx_is_an_engine_fault(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    (folder / "model.fp32.onnx").write_bytes(b"not a network")
    write_manifest(folder)
    with pytest.raises(EngineError, match=r"cannot compile model\.fp32\.onnx .*; export it again"):
        open_engine(read_bundle(folder), backend="openvino")


def test_choices_that_cannot_be_had(folder: Path) -> None:
    bundle = read_bundle(folder)
    with pytest.raises(UsageError, match="holds fp32, not int8"):
        open_engine(bundle, precision="int8")


def test_tensorrt_asked_for_by_name_says_what_is_missing(folder: Path) -> None:
    """Without a GPU how to do without; with one that its plan must be built."""
    with pytest.raises((BackendUnavailable, PlanMissing), match=r"--backend openvino|edge-cxr build --precision fp32"):
        open_engine(read_bundle(folder), backend="tensorrt")


@pytest.mark.gpu
def test_a_gpu_answers_as_the_cpu_does(folder: Path) -> None:
    bundle = read_bundle(folder)
    gpu, cpu = on_the_gpu(bundle), open_engine(bundle, backend="openvino")
    for count in (1, 5, 8):
        answered, expected = gpu.infer(batch(count)), cpu.infer(batch(count))
        for name in OUTPUT_NAMES:
            np.testing.assert_allclose(getattr(answered, name), getattr(expected, name), atol=1e-3, err_msg=name)
    gpu.close()
    cpu.close()
