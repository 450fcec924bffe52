"""A tiny untrained network as an fp32 graph, three arrays to calibrate it with, and what was measured on them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from array_files import write_array
from torch import nn

from calib.quantiser import Quantiser, open_quantiser
from export.fused import Fused
from export.graph import write_graph
from training.model import Classifier, ClassifierArchitecture, LungArchitecture, LungNet

SIDE = 160


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    lungs = LungNet(LungArchitecture(depth=3, widths=(8, 8, 8)))
    member = Classifier(ClassifierArchitecture("tiny", "resnet18", (8, 8, 16, 16), SIDE))
    with torch.no_grad():
        for layer in (*lungs.modules(), *member.modules()):
            if isinstance(layer, nn.BatchNorm2d):
                layer.bias.uniform_(-0.2, 0.2)  # folded into the convolution: without it there is no bias to check
        member.head.third.weight.mul_(20)  # an untrained head answers one half to everything
    path = tmp_path_factory.mktemp("graph") / "model.fp32.onnx"
    write_graph(Fused(lungs, [member], side=SIDE), path)
    return path


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("arrays")
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 1024)
    arrays = [random.integers(0, 256, (1024, 1024)) * ramp**power for power in (0.5, 1, 2)]
    return [write_array(folder / f"{place}.npz", array.astype(np.uint8)) for place, array in enumerate(arrays)]


@pytest.fixture(scope="session")
def quantiser(graph: Path, kept: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Quantiser:
    folder = tmp_path_factory.mktemp("calibration")
    return open_quantiser(
        graph, kept, radiographs_sha256="r" * 64, preprocessing_digest="p" * 64, calibrator="minmax", folder=folder
    )
