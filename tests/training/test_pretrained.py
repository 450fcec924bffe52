"""First weights from files of every common naming, from a hub that is there, cached, silent or absent; and refusals."""

import hashlib
import http.server
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor, nn

from edge.errors import UsageError
from training.keras_resnet50 import move_stride
from training.pretrained import first_weights

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own

Said = list[str]


def backbone(name: str) -> nn.Module:
    """As training.model makes them: VGG without its two wide layers."""
    small = {"mlp_ratio": 0.01} if name.startswith("vgg") else {}
    network = timm.create_model(name, in_chans=3, num_classes=0, global_pool="", **small)
    if hasattr(network, "pre_logits"):
        network.pre_logits = nn.Identity()
    return network


def filled(name: str) -> dict[str, Tensor]:
    """A state unlike the one that a fresh network has, even where that is all ones or zeros."""
    draw = torch.Generator().manual_seed(1)
    state = backbone(name).state_dict()
    return {
        key: torch.rand(tensor.shape, generator=draw) if tensor.is_floating_point() else tensor
        for key, tensor in state.items()
    }


def load(name: str, state: dict[str, Tensor], folder: Path, record: dict[str, str] | None = None) -> nn.Module:
    file = folder / "weights.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, file, metadata=record)
    network, said = backbone(name), Said()
    described = first_weights(network, name, file, said.append)
    assert described == f"file weights.safetensors sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert said == [f"{name}: {described}"]
    return network


def assert_holds(network: nn.Module, state: dict[str, Tensor]) -> None:
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[key]), key


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.backbone.", "module.densenet121.", "module.model.densenet121."]
)
def test_densenet_whatever_wrapped_it(prefix: str, tmp_path: Path) -> None:
    state = filled("densenet121")
    wrapped = {prefix + key: tensor for key, tensor in state.items()}
    wrapped |= {f"{prefix}classifier.weight": torch.rand(14, 1024), f"{prefix}classifier.bias": torch.rand(14)}
    assert_holds(load("densenet121", wrapped, tmp_path), state)


def test_densenet_by_torchvisions_old_names_without_features_or_counts(tmp_path: Path) -> None:
    state = filled("densenet121")
    old = {}
    for key, tensor in state.items():
        if not key.endswith("num_batches_tracked"):
            short = key.removeprefix("features.")
            for part in ("norm1", "norm2", "conv1", "conv2"):
                short = short.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
            old[short] = tensor
    assert "denseblock1.denselayer1.norm.1.weight" in old
    assert_holds(load("densenet121", old, tmp_path), state)


def test_torchvisions_resnet_and_vgg(tmp_path: Path) -> None:
    resnet = filled("resnet18")
    named = {**resnet, "fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}
    assert_holds(load("resnet18", named, tmp_path), resnet)
    vgg = filled("vgg11")
    wide = {f"classifier.{layer}.weight": torch.rand(4, 4) for layer in (0, 3, 6)}
    assert_holds(load("vgg11", {**vgg, **wide}, tmp_path), vgg)


@torch.no_grad()
def test_one_input_channel_becomes_the_radiographs(tmp_path: Path) -> None:
    state = filled("resnet18")
    kernels = torch.rand(64, 1, 7, 7)
    network = load("resnet18", {**state, "conv1.weight": kernels}, tmp_path)
    radiograph, lungs = torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)
    channels = torch.cat([radiograph, lungs, torch.zeros_like(lungs)], dim=1)
    seen = network.get_submodule("conv1")(channels)
    torch.testing.assert_close(seen, torch.nn.functional.conv2d(radiograph, kernels, stride=2, padding=3))


def test_a_file_that_lacks_tensors_changes_nothing(tmp_path: Path) -> None:
    state = filled("resnet18")
    del state["layer4.1.bn2.running_var"], state["layer1.0.conv1.weight"]
    state["conv1.weight"] = torch.rand(64, 4, 7, 7)
    save_file(state, tmp_path / "partial.safetensors")
    network = backbone("resnet18")
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    expected = (
        r"partial\.safetensors lacks 2 of the 100 tensors of resnet18 and has 1 of another shape "
        r"\(first: conv1\.weight \[64, 4, 7, 7\], not \[64, 3, 7, 7\]\); give weights of resnet18"
    )
    with pytest.raises(UsageError, match=expected):
        first_weights(network, "resnet18", tmp_path / "partial.safetensors", print)
    save_file({**filled("resnet18"), "bn1.bias": torch.rand(32)}, tmp_path / "shape.safetensors")
    with pytest.raises(
        UsageError, match=r"lacks 0 of .* has 1 of another shape \(first: bn1\.bias \[32\], not \[64\]\)"
    ):
        first_weights(network, "resnet18", tmp_path / "shape.safetensors", print)
    assert_holds(network, before)


def test_weights_of_the_other_stride_are_refused(tmp_path: Path) -> None:
    state = filled("resnet50")
    with pytest.raises(UsageError, match=r"halves in its first 1x1 convolutions.* take the backbone resnet50-v1"):
        load("resnet50", state, tmp_path, {"stride": "conv1"})
    network = move_stride(backbone("resnet50"))
    first_weights(network, "resnet50-v1", tmp_path / "weights.safetensors", Said().append)
    assert_holds(network, state)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin"])
def test_a_pickle_is_never_opened(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(b"cos\nabort\n(tR.")  # would end the tests
    with pytest.raises(UsageError, match="a pickle, which can run code, and is never opened; convert it"):
        first_weights(nn.Linear(2, 2), "resnet18", file, print)


def test_the_conversion_that_is_named_works(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    state = filled("resnet18")
    torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}}, file)
    with pytest.raises(UsageError) as refused:
        first_weights(backbone("resnet18"), "resnet18", file, print)
    code = str(refused.value).split('python -c "')[1].removesuffix('"').replace("'weights", f"'{tmp_path}/weights")
    exec(code, {})
    network = backbone("resnet18")
    first_weights(network, "resnet18", tmp_path / "weights.safetensors", Said().append)
    assert_holds(network, state)


def test_files_that_are_absent_damaged_or_of_another_kind(tmp_path: Path) -> None:
    network = backbone("resnet18")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x80\x04not safetensors")
    for file, told in (
        (tmp_path / "none.safetensors", "no first weights at .*name an existing"),
        (damaged, "cannot be read as safetensors .*copy or convert it again"),
        (tmp_path / "keras.h5", r"must be \.safetensors, keras\.h5 ends in \.h5; save the network's state"),
    ):
        with pytest.raises(UsageError, match=told):
            first_weights(network, "resnet18", file, print)


def test_no_wish_is_scratch_said_aloud() -> None:
    network, said = backbone("resnet18"), Said()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert first_weights(network, "resnet18", None, said.append) == "scratch"
    assert said == ["resnet18: no first weights, training from scratch"]
    assert_holds(network, before)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a model hub as its client needs. weights: what every repository holds."""

    weights = b""
    asked: list[str]

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(self.weights).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(self.weights)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.weights)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def hub(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    file = tmp_path / "model.safetensors"
    save_file({**filled("resnet18"), "fc.weight": torch.rand(1000, 512)}, file)
    handler = type("FilledHub", (Hub,), {"weights": file.read_bytes(), "asked": []})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield handler
        server.shutdown()


def test_imagenet_comes_from_the_hub_once_and_then_from_its_cache(hub: type[Hub]) -> None:
    for _ in range(2):
        network, said = backbone("resnet18"), Said()
        assert first_weights(network, "resnet18", "imagenet", said.append) == (
            "imagenet (timm resnet18.a1_in1k, apache-2.0)"
        )
        assert_holds(network, filled("resnet18"))
        assert said == ["resnet18: imagenet (timm resnet18.a1_in1k, apache-2.0)"]
    asked = [path for path in hub.asked if path.startswith("/timm/")]
    assert {Path(path).name for path in asked} == {"config.json", "model.safetensors"}  # never the pickle beside them
    assert len(asked) == 3  # is it there, which file, the file: nothing the second time


def assert_falls_back(name: str, why: str, capfd: pytest.CaptureFixture[str], *, within_s: float) -> None:
    network, said = backbone(name.removesuffix("-v1")), Said()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    started = time.monotonic()
    assert first_weights(network, name, "imagenet", said.append) == "scratch"
    assert time.monotonic() - started < within_s
    assert len(said) == 2 and why in said[0] and said[1] == f"{name}: no first weights, training from scratch"
    assert_holds(network, before)
    assert capfd.readouterr() == ("", "")  # neither the client's retries nor a traceback


def test_an_absent_hub_is_given_up_at_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    assert_falls_back("resnet18", "cannot be reached ([Errno 111] Connection refused)", capfd, within_s=2)


def test_a_silent_hub_is_given_up_in_seconds(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert_falls_back("resnet18", "cannot be reached (timed out)", capfd, within_s=8)


def test_offline_by_wish_asks_nobody(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_falls_back("resnet18", "HF_HUB_OFFLINE is set", capfd, within_s=2)
    assert not hub.asked


def test_a_network_that_the_hub_does_not_have(hub: type[Hub], capfd: pytest.CaptureFixture[str]) -> None:
    assert_falls_back("resnet50-v1", "timm's hub has no ImageNet weights for it", capfd, within_s=2)
    assert not hub.asked
