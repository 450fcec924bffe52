"""The fused network: the folded channel is exact, and OpenVINO answers the graph as torch answers the module."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edge.engines.base import OUTPUT_NAMES
from edge.engines.silent_openvino import openvino
from edge.values import Crop
from export.fused import Fused, fold_zero_channel
from export.graph import OPSET
from training.devices import ALONE
from training.model import Classifier, ClassifierArchitecture, LungArchitecture, LungNet, channels_of
from training.stacks import input_stack

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's exporter and timm
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]


def test_folding_the_zero_channel_is_exact(classifier: Callable[[int], Classifier]) -> None:
    member = classifier(3).double()
    folded = fold_zero_channel(member)
    radiographs, lungs = torch.rand(2, 2, 1, 96, 96, dtype=torch.float64).unbind()
    with torch.inference_mode():
        whole, _ = member(channels_of(radiographs, lungs))
        logits, _ = folded(torch.cat([radiographs, lungs], dim=1))
    torch.testing.assert_close(logits, whole, atol=1e-12, rtol=1e-12)
    assert next(folded.backbone.parameters()).shape[1] == 2
    assert next(member.backbone.parameters()).shape[1] == 3  # the original is left as it was


def test_openvino_answers_as_torch_does(fused: Fused, graph: Path) -> None:
    random = np.random.default_rng(0)
    batch = random.random((3, 1, 1024, 1024), dtype=np.float32)
    batch[1] *= np.linspace(0, 1, 1024, dtype=np.float32)
    compiled = openvino.Core().compile_model(str(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answered = compiled(batch)
    with torch.inference_mode():
        expected = dict(zip(OUTPUT_NAMES, fused(torch.from_numpy(batch)), strict=True))
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    assert shapes == {
        "score": (3,),
        "member_scores": (3, 2),
        "embedding": (3, 128),
        "lung_mask": (3, 1, 256, 256),
        "evidence_map": (3, 1, 32, 32),
    }
    for name, tensor in expected.items():
        np.testing.assert_allclose(answered[name], tensor.numpy(), atol=2e-4, rtol=1e-3, err_msg=name)
    assert np.ptp(answered["lung_mask"]) > 0.1  # a constant network would agree with anything


def test_the_score_is_the_mean_of_the_members(fused: Fused) -> None:
    with torch.inference_mode():
        score, member_scores, *_ = fused(torch.rand(2, 1, 1024, 1024))
    torch.testing.assert_close(score, member_scores.mean(dim=1))
    assert not torch.allclose(member_scores[:, 0], member_scores[:, 1])


def test_the_graph_is_one_file_without_traces_of_this_machine(graph: Path) -> None:
    model = onnx.load(graph, load_external_data=False)
    assert model.opset_import[0].version == OPSET
    assert not any(initializer.external_data for initializer in model.graph.initializer)
    assert [output.name for output in model.graph.output] == list(OUTPUT_NAMES)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # the batch is free
    assert b".py" not in model.SerializeToString()


@pytest.mark.parametrize("lung_crop", [False, True], ids=["whole", "cropped"])
@pytest.mark.parametrize("side", [64, 160, 256, 320])
def test_a_classifier_is_trained_on_what_the_graph_shows_it(tmp_path: Path, side: int, lung_crop: bool) -> None:
    torch.manual_seed(0)
    lungs = LungNet(LungArchitecture(depth=3, widths=(8, 8, 8))).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (1024, 1024), dtype=np.uint8)
    pixels[:512] //= 4
    crop = np.array([getattr(Crop(0, 0, 1024, 1024, 0, 0, 1024, 1024), field.name) for field in fields(Crop)])
    np.savez(tmp_path / "kept.npz", pixels=pixels, crop=crop, sha256=np.array("0" * 64))

    member = Keeping()
    graph = Fused(lungs, [], side=side, lung_crop=lung_crop)
    graph.members.append(member)
    with torch.inference_mode(), pytest.raises(Kept):
        graph(torch.from_numpy(pixels)[None, None].float() / 255)
    assert member.channels is not None
    architecture = ClassifierArchitecture(side=side, lung_crop=lung_crop)
    pair = input_stack(lungs, "0" * 64, [tmp_path / "kept.npz"], architecture, tmp_path, place=ALONE)
    trained_on = torch.cat(pair, dim=1).float() / 255
    torch.testing.assert_close(member.channels, trained_on, atol=1.01 / 255, rtol=0)  # kept as uint8
    assert float(trained_on[:, 1].max() - trained_on[:, 1].min()) > 0.05


class Kept(Exception):
    """Raised once the channels are known: what a member would answer does not matter."""


class Keeping(Classifier):
    """Stands where a member stands, and keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__(ClassifierArchitecture("tiny", "resnet18", (8, 8, 16, 16), 64))
        self.channels: torch.Tensor | None = None
        self.backbone.register_forward_pre_hook(self._keep)

    def _keep(self, module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        self.channels = arguments[0]
        raise Kept
