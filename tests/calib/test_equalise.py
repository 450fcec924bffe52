"""Channel equalisation: no answer changes, and the channels of a stream reach alike."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from array_files import write_array
from onnx import TensorProto, helper, numpy_helper

from calib.answers import ask_graph
from calib.equalise import channel_reach, equalise, streams_of
from calib.quantise import prepare
from export.parity import compare

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's exporter and onnxruntime
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]


@pytest.fixture(scope="module")
def prepared(graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("equalise") / "prepared.onnx"
    prepare(graph, path)
    return path


def test_no_answer_changes_and_weights_do(prepared: Path, kept: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copy(prepared, tmp_path / "equalised.onnx"))
    equalise(other, kept)
    parity = compare(ask_graph(prepared, kept), ask_graph(other, kept))
    assert parity.score_change_max < 1e-5 and parity.embedding_cosine_min > 0.99999 and parity.lung_dice_min > 0.9999
    before, after = (weights_of(path) for path in (prepared, other))
    changed = {name for name in before if not np.allclose(before[name], after[name])}
    moved = "lungs.unet.encoder.layer1.0.conv2 lungs.unet.decoder.blocks.0.conv2.0 members.0.backbone.layer1.0.conv1"
    assert {f"{name}.weight" for name in moved.split()} <= changed
    assert not any(name.startswith("members.0.head") for name in changed)


def weights_of(path: Path) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}


def test_channels_reach_more_alike(prepared: Path, kept: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copy(prepared, tmp_path / "equalised.onnx"))
    equalise(other, kept)
    uneven = [spread_of(path, kept) for path in (prepared, other)]
    assert uneven[1] < 0.7 * uneven[0]


def spread_of(path: Path, kept: list[Path]) -> float:
    """How unlike the channels of the lung network's scaled streams reach: the standard deviation of their logarithms.

    In the untrained classifier half of the weights are zeros, which nothing can be equalised with.
    """
    model = onnx.load(path)
    tensors: set[str] = set()
    for stream in streams_of(model.graph):
        if not stream.fixed and any(writer.startswith("lungs") for writer in stream.writers):
            tensors |= stream.read
    found = channel_reach(model, tensors, kept)
    return float(np.mean([np.log(reach[reach > 0]).std() for reach in found.values()]))


def chain(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    """radiograph -> conv `a` (2 channels) -> the nodes -> conv `b` of the tensor `read` -> answer."""
    random = np.random.default_rng(0)
    weights = {"a.weight": (2, 1, 1, 1), "b.weight": (1, 2, 1, 1)}
    constants = [numpy_helper.from_array(random.random(shape, np.float32), name) for name, shape in weights.items()]
    constants.append(numpy_helper.from_array(np.ones((1, 2, 1, 1), np.float32), "one"))
    size = [1, 1, 8, 8]
    return helper.make_graph(
        [helper.make_node("Conv", ["radiograph", "a.weight"], ["written"], name="a"), *nodes], "chain",
        [helper.make_tensor_value_info("radiograph", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, size)], constants,
    )  # fmt: skip


READ = helper.make_node("Conv", ["read", "b.weight"], ["answer"], name="b")


@pytest.mark.parametrize(
    ("node", "fixed"),
    [
        (helper.make_node("Relu", ["written"], ["read"]), False),
        (helper.make_node("MaxPool", ["written"], ["read"], kernel_shape=[1, 1]), False),
        (helper.make_node("Add", ["written", "written"], ["read"]), False),
        (helper.make_node("Add", ["written", "one"], ["read"]), True),
        (helper.make_node("Sigmoid", ["written"], ["read"]), True),
        (helper.make_node("Concat", ["written"], ["read"], axis=1), True),
    ],
)
def test_only_what_lets_a_factor_through_is_passed(node: onnx.NodeProto, fixed: bool) -> None:
    (stream,) = (stream for stream in streams_of(chain(node, READ)) if "a" in stream.writers)
    assert stream.fixed is fixed
    assert fixed or stream.readers == ["b"]


def test_channels_that_stay_dark_are_left_as_they_are(prepared: Path, tmp_path: Path) -> None:
    """One level of grey reaches some channels not at all; nothing is divided by zero."""
    flat = np.full((1024, 1024), 7, np.uint8)
    flat[0, 0] = 8
    other = Path(shutil.copy(prepared, tmp_path / "equalised.onnx"))
    equalise(other, [write_array(tmp_path / "flat.npz", flat)])
    assert all(np.isfinite(value).all() for value in weights_of(other).values() if value.dtype == np.float32)
