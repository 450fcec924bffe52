"""A tiny untrained network as an fp32 graph."""

from pathlib import Path

import pytest
import torch
from torch import nn

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
