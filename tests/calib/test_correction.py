"""Bias correction: the mean of a quantised convolution's output comes back to where fp32 has it."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from array_files import write_array

from calib.correction import as_int8, channel_means
from calib.quantise import prepare, quantise
from calib.ranges import Ranges, Stamp, measure, read_input
from edge.engines.base import INPUT_NAME

CHANNELS = 6
STAMP = Stamp("g" * 64, "r" * 64, "p" * 64, "minmax")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One channel becomes six non-negative ones, which a second convolution mixes."""
    random = np.random.default_rng(3)
    kind = onnx.TensorProto.FLOAT
    weights = {
        "first.weight": random.uniform(0.2, 1, (CHANNELS, 1, 1, 1)),
        "second.weight": random.normal(0.4, 0.3, (CHANNELS, CHANNELS, 1, 1)),
        "second.bias": random.normal(0, 0.1, CHANNELS),
    }
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", [INPUT_NAME, "first.weight"], ["spread"]),
            onnx.helper.make_node("Relu", ["spread"], ["rectified"]),
            onnx.helper.make_node("Conv", ["rectified", "second.weight", "second.bias"], ["mixed"]),
            onnx.helper.make_node("Tanh", ["mixed"], ["share"]),
        ],
        "mixing",
        [onnx.helper.make_tensor_value_info(INPUT_NAME, kind, [1, 1, 1024, 1024])],
        [onnx.helper.make_tensor_value_info("share", kind, [1, CHANNELS, 1024, 1024])],
        [onnx.numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    folder = tmp_path_factory.mktemp("mixing")
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "model.fp32.onnx")
    prepare(folder / "model.fp32.onnx", folder / "prepared.onnx")
    return folder / "prepared.onnx"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    pixels = np.random.default_rng(5).integers(0, 256, (1024, 1024)).astype(np.uint8)
    return [write_array(tmp_path_factory.mktemp("arrays") / "noise.npz", pixels)]


def mean_of_mixed(graph: Path, path: Path) -> np.ndarray:
    model = onnx.load(graph)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("mixed"))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (mixed,) = session.run(["mixed"], {INPUT_NAME: read_input(path)})
    return mixed.mean(axis=(0, 2, 3), dtype=np.float64)


def test_the_means_come_back(prepared: Path, kept: list[Path], tmp_path: Path) -> None:
    ranges = measure(prepared, kept, STAMP)
    means = channel_means(prepared, kept, ranges)
    nothing = {name: (before * 0, after * 0) for name, (before, after) in means.items()}
    exact, away = mean_of_mixed(prepared, kept[0]), []
    for used in (means, nothing):
        quantise(prepared, tmp_path / "int8.onnx", ranges, used, layers=["second"])
        away.append(np.abs(mean_of_mixed(tmp_path / "int8.onnx", kept[0]) - exact))
    assert away[1].max() > 1e-4
    assert away[0].max() < 0.05 * away[1].max()


def test_clipping_is_corrected_too(prepared: Path, kept: list[Path], tmp_path: Path) -> None:
    """Half the range: what is cut off the activations is put back on average."""
    whole = measure(prepared, kept, STAMP)
    halved = Ranges(STAMP, {name: reach / 2 for name, reach in whole.reach.items()})
    quantise(prepared, tmp_path / "int8.onnx", halved, channel_means(prepared, kept, halved), layers=["second"])
    exact = mean_of_mixed(prepared, kept[0])
    np.testing.assert_allclose(mean_of_mixed(tmp_path / "int8.onnx", kept[0]), exact, atol=0.01 * np.abs(exact).max())


def test_int8_rounds_half_to_even_and_clips() -> None:
    values = np.array([-2.0, -1.0, 0.0, 0.5 / 127, 1.5 / 127, 1.0, 2.0], np.float32)
    expected = np.array([-128 / 127, -1.0, 0.0, 0.0, 2 / 127, 1.0, 1.0], np.float32)
    np.testing.assert_allclose(as_int8(values, 1.0), expected, atol=1e-7)
