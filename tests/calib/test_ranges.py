"""Ranges: what a calibrator measures, what is refused, and that kept ones hold for one stamp only."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from array_files import write_array

from calib.quantise import prepare
from calib.quantiser import Quantiser
from calib.ranges import CALIBRATORS, Ranges, Stamp, keep, measure, measured, recall
from edge.errors import UsageError

STAMP = Stamp("g" * 64, "r" * 64, "p" * 64, "minmax")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def halving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution that halves its input: 0..1 becomes 0..0.5."""
    kind, size = onnx.TensorProto.FLOAT, [1, 1, 1024, 1024]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["radiograph", "half.weight"], ["halved"])],
        "halving",
        [onnx.helper.make_tensor_value_info("radiograph", kind, size)],
        [onnx.helper.make_tensor_value_info("halved", kind, size)],
        [onnx.numpy_helper.from_array(np.full((1, 1, 1, 1), 0.5, np.float32), "half.weight")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    folder = tmp_path_factory.mktemp("halving")
    onnx.save(model, folder / "model.fp32.onnx")
    prepare(folder / "model.fp32.onnx", folder / "prepared.onnx")
    return folder / "prepared.onnx"


def test_minmax_is_the_greatest_value_over_all_radiographs(halving: Path, tmp_path: Path) -> None:
    ramp = np.linspace(0, 204, 1024).astype(np.uint8)
    dim = write_array(tmp_path / "dim.npz", np.tile(ramp // 2, (1024, 1)))
    bright = write_array(tmp_path / "bright.npz", np.tile(ramp, (1024, 1)))
    for order in ([dim, bright], [bright, dim]):
        reach = measure(halving, order, STAMP).reach
        assert reach == pytest.approx({"radiograph": 0.8, "halved": 0.4}, abs=1e-6)


def test_percentile_leaves_a_few_outliers_out(halving: Path, tmp_path: Path) -> None:
    pixels = np.tile((np.arange(1024) % 103).astype(np.uint8), (1024, 1))  # up to 0.4
    pixels[0, :20] = 255
    kept = [write_array(tmp_path / "outliers.npz", pixels)]
    assert measure(halving, kept, STAMP).reach["radiograph"] == pytest.approx(1.0)
    found = measure(halving, kept, replace(STAMP, calibrator="percentile")).reach["radiograph"]
    assert 0.38 < found < 0.45


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_every_calibrator_measures_every_tensor_of_a_convolution(
    quantiser: Quantiser, kept: list[Path], calibrator: str
) -> None:
    reach = measure(quantiser.prepared, kept[:1], replace(STAMP, calibrator=calibrator)).reach
    read = {node.input[0] for node in onnx.load(quantiser.prepared).graph.node if node.op_type == "Conv"}
    assert read <= reach.keys()
    assert all(limit > 0 for limit in reach.values())


def test_a_blank_radiograph_is_an_error_not_the_end(halving: Path, tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 1024).astype(np.uint8), (1024, 1))
    good, blank = write_array(tmp_path / "good.npz", ramp), write_array(tmp_path / "blank.npz", np.zeros_like(ramp))
    with pytest.raises(UsageError, match=r"blank\.npz is blank"):
        measure(halving, [good, blank], STAMP)
    with pytest.raises(UsageError, match="no calibration radiograph"):
        measure(halving, [], STAMP)


def test_weights_that_overflow_are_an_error(halving: Path, tmp_path: Path) -> None:
    model = onnx.load(halving)
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.full((1, 1, 1, 1), np.inf, np.float32), "half.weight")
    )
    onnx.save(model, tmp_path / "broken.onnx")
    kept = [write_array(tmp_path / "ramp.npz", np.tile(np.arange(1, 1025) % 256, (1024, 1)).astype(np.uint8))]
    with pytest.raises(UsageError, match="check the weights"):
        measure(tmp_path / "broken.onnx", kept, STAMP)


def test_kept_ranges_come_back_and_are_not_measured_again(tmp_path: Path) -> None:
    ranges = Ranges(STAMP, {"a": 0.1, "b": 2.5})
    keep(ranges, tmp_path / "ranges.json")
    assert recall(tmp_path / "ranges.json", STAMP) == ranges
    assert measured(tmp_path / "no graph", [], STAMP, tmp_path / "ranges.json") == ranges


@pytest.mark.parametrize("part", [field.name for field in fields(Stamp)])
def test_ranges_of_any_other_stamp_are_refused(tmp_path: Path, part: str) -> None:
    keep(Ranges(STAMP, {"a": 0.1}), tmp_path / "ranges.json")
    with pytest.raises(UsageError, match=f"another {part}"):
        recall(tmp_path / "ranges.json", replace(STAMP, **{part: "other"}))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"stamp": 1, "reach": {}}'])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "ranges.json").write_text(text)
    with pytest.raises(UsageError, match="holds no calibration ranges"):
        recall(tmp_path / "ranges.json", STAMP)
