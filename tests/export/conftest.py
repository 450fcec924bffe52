"""A tiny untrained network and its graph; batch norms are shaken, so that folding them must be right to agree."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from export.fused import Fused
from export.graph import write_graph
from training.model import Classifier, ClassifierArchitecture, LungArchitecture, LungNet

SIDE = 160


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """On a busy machine torch's threads wait for each other: tiny networks take several times as long with two."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def few_golden_phantoms() -> Iterator[None]:
    """To choose among: the forty of a real bundle take a while to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.golden.SEEDS", range(300_000, 300_012))
        yield


def shaken(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.2, 0.2)
                layer.running_var.uniform_(0.5, 2.0)
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.2, 0.2)
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(3)
    return network.eval()


def tiny_classifier(seed: int) -> Classifier:
    torch.manual_seed(seed)
    return shaken(Classifier(ClassifierArchitecture("tiny", "resnet18", (8, 8, 16, 16), SIDE)))


@pytest.fixture(scope="session")
def classifier() -> Callable[[int], Classifier]:
    return tiny_classifier


@pytest.fixture(scope="session")
def fused() -> Fused:
    torch.manual_seed(0)
    lungs = shaken(LungNet(LungArchitecture(depth=3, widths=(8, 8, 8))))
    return Fused(lungs, [tiny_classifier(1), tiny_classifier(2)], side=SIDE, embedding_member=1)


@pytest.fixture(scope="session")
def graph(fused: Fused, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.fp32.onnx"
    write_graph(fused, path)
    return path
