"""The networks in torch: lung U-Net, classifier with the three-layer decision head, and their checkpoints.

A checkpoint is `<name>.safetensors` (weights) with `<name>.json` (what made them). No pickle is ever read.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edge.engines.base import EMBEDDING_SIZE
from edge.errors import UsageError
from training.keras_resnet50 import move_stride
from training.lung_crop import SPREADS, crop_to, lung_boxes

_N = TypeVar("_N", bound=nn.Module)
ALL_STAGES = 4  # of every ResNet
CROP_FROM = 512  # pixels of the radiograph that a lung crop is cut from
INPUTS = f"inputs/1 {CROP_FROM} {SPREADS}"  # of whatever is kept of `inputs_of`: raise it when that changes


@dataclass(frozen=True)
class LungArchitecture:
    """depth: encoder stages, each halving the side. widths: decoder channels, deepest first; one per stage."""

    encoder: str = "resnet18"
    depth: int = 4
    widths: tuple[int, ...] = (128, 64, 32, 16)


@dataclass(frozen=True)
class ClassifierArchitecture:
    """backbone: a timm name, or resnet50-v1. channels: narrower stages than the backbone's own, or () for its own.
    stages: how many of its four are kept; three make what detectors call C4. Both of ResNets only.
    lung_channel: False for the ablation, whose second channel is zeros.
    """

    name: str = "resnet34"
    backbone: str = "resnet34"
    channels: tuple[int, ...] = ()
    side: int = 320  # pixels of the network's input
    lung_channel: bool = True
    lung_crop: bool = False  # whether it sees the box around the lungs alone
    stages: int = ALL_STAGES


def reduce_to(radiographs: Tensor, side: int) -> Tensor:
    """[N, C, S, S] -> [N, C, side, side]: averages whole blocks, then bilinear; no antialias operator is needed.

    Lung maps may be smaller than the classifier's side: bilinear then.
    """
    block = radiographs.shape[-1] // side
    if block > 1:
        radiographs = F.avg_pool2d(radiographs, block)
    if radiographs.shape[-1] == side:
        return radiographs
    return F.interpolate(radiographs, size=(side, side), mode="bilinear", align_corners=False)


class LungNet(nn.Module):
    """Radiograph [N, 1, side, side] in 0..1 -> lung logits of the same shape. Trained at 256, works at other sides."""

    def __init__(self, architecture: LungArchitecture) -> None:
        super().__init__()
        self.unet = smp.Unet(
            architecture.encoder,
            encoder_depth=architecture.depth,
            encoder_weights=None,
            decoder_channels=architecture.widths,
            in_channels=1,
        )

    def forward(self, radiographs: Tensor) -> Tensor:
        return self.unet(radiographs)


class DecisionHead(nn.Module):
    """Three fully connected layers over the last axis: features -> 256 -> 128 -> 2 logits.

    The embedding is the last hidden vector after its ReLU: what the decision itself reads, so that cases near in it
    are near for the same reason as their scores.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, 256)
        self.second = nn.Linear(256, EMBEDDING_SIZE)
        self.third = nn.Linear(EMBEDDING_SIZE, 2)
        self.dropout = nn.Dropout(0.3)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[..., features] -> logits [..., 2], embedding [..., 128]."""
        hidden = F.relu(self.first(self.dropout(features)))
        embedding = F.relu(self.second(self.dropout(hidden)))
        return self.third(embedding), embedding


class Classifier(nn.Module):
    """Channels [N, 3, side, side] (radiograph, lung probability, zeros) -> logits [N, 2], embedding [N, 128]."""

    def __init__(self, architecture: ClassifierArchitecture) -> None:
        super().__init__()
        self.backbone = _backbone(architecture)
        self.features: int = self.backbone.num_features  # type: ignore[assignment]  # any timm network
        self.head = DecisionHead(self.features)

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.pooled(channels))

    def pooled(self, channels: Tensor) -> Tensor:
        """The feature map's mean, [N, features]."""
        return self.backbone(channels).mean(dim=(2, 3))

    def evidence(self, feature_map: Tensor) -> Tensor:
        """The decision head at every position: [N, features, h, w] -> positive-class probability [N, 1, h, w]."""
        places = feature_map.permute(0, 2, 3, 1)
        # Flat, so that an exported graph multiplies by the very weights of the score and holds them once.
        logits, _ = self.head(places.reshape(-1, self.features))
        return logits.softmax(dim=-1)[:, 1].reshape(places.shape[:3]).unsqueeze(1)


def _backbone(architecture: ClassifierArchitecture) -> nn.Module:
    """[N, 3, side, side] -> feature map [N, num_features, h, w]; what timm puts behind the feature map is left out."""
    narrower: dict[str, Any] = {"channels": architecture.channels} if architecture.channels else {}
    name = architecture.backbone.removesuffix("-v1")
    backbone = timm.create_model(name, pretrained=False, in_chans=3, num_classes=0, global_pool="", **narrower)
    if name != architecture.backbone:
        move_stride(backbone)
    if architecture.stages < ALL_STAGES:
        _keep_stages(backbone, architecture.stages)
    if hasattr(backbone, "pre_logits"):  # VGG's two 4096-wide layers: the decision head stands in their place
        backbone.pre_logits = nn.Identity()
    return backbone


def _keep_stages(backbone: nn.Module, stages: int) -> None:
    """Cuts a ResNet of timm, in place, after so many of its stages."""
    for left_out in range(stages, ALL_STAGES):
        setattr(backbone, f"layer{left_out + 1}", nn.Identity())
    backbone.feature_info = backbone.feature_info[: stages + 1]  # type: ignore[assignment,index]  # the stem is first
    backbone.num_features = backbone.feature_info[-1]["num_chs"]  # type: ignore[assignment,index]


def inputs_of(radiographs: Tensor, lungs: Tensor, side: int, *, lung_crop: bool) -> tuple[Tensor, Tensor]:
    """What a classifier sees: radiographs [N, 1, 1024, 1024] and lung probabilities [N, 1, 256, 256], both in 0..1 ->
    the same at [N, 1, side, side]; cut to the lungs where the network is made for that. THE one implementation.
    """
    if not lung_crop:
        return reduce_to(radiographs, side), reduce_to(lungs, side)
    boxes = lung_boxes(lungs)
    return crop_to(reduce_to(radiographs, CROP_FROM), boxes, side), crop_to(lungs, boxes, side)


def channels_of(radiographs: Tensor, lungs: Tensor) -> Tensor:
    """Radiographs and lung probabilities, both [N, 1, side, side] in 0..1 -> [N, 3, side, side] with zeros last."""
    return torch.cat([radiographs, lungs, torch.zeros_like(radiographs)], dim=1)


Architecture = LungArchitecture | ClassifierArchitecture
_A = TypeVar("_A", LungArchitecture, ClassifierArchitecture)
_KINDS: dict[type[Architecture], str] = {LungArchitecture: "lungs", ClassifierArchitecture: "classifier"}


def build(architecture: Architecture) -> LungNet | Classifier:
    return LungNet(architecture) if isinstance(architecture, LungArchitecture) else Classifier(architecture)


def save_checkpoint(path: Path, network: nn.Module, architecture: Architecture, made_by: dict[str, Any]) -> None:
    """path: without suffix. made_by: preset, seed, rows, versions: enough to repeat it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}")
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, f"{beside}.safetensors")
    record = {"kind": _KINDS[type(architecture)], "architecture": asdict(architecture), **made_by}
    Path(f"{beside}.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _take_place(beside, path)


def _take_place(beside: Path, path: Path) -> None:
    """Both without suffix; the weights first, so that the record never names weights that are not there."""
    for suffix in (".safetensors", ".json"):
        Path(f"{beside}{suffix}").replace(f"{path}{suffix}")


def copy_checkpoint(path: Path, to: Path) -> None:
    """Both paths without suffix."""
    read_record(path)
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(f".{to.name}")
    for suffix in (".safetensors", ".json"):
        shutil.copyfile(f"{path}{suffix}", f"{beside}{suffix}")
    _take_place(beside, to)


def read_record(path: Path) -> dict[str, Any]:
    try:
        return json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no checkpoint {path.name} in {path.parent.name}; train it first: edge-cxr train") from None


def weights_file(init: Path) -> Path:
    """The safetensors of a checkpoint named without suffix, or the file itself."""
    return init if init.suffix == ".safetensors" else Path(f"{init}.safetensors")


def weights_sha256(path: Path) -> str:
    """SHA-256 of a checkpoint's weights. Raises UsageError when there is no such checkpoint."""
    read_record(path)
    return hashlib.sha256(Path(f"{path}.safetensors").read_bytes()).hexdigest()


def require_preprocessing(path: Path, digest: str) -> None:
    """Raises UsageError when the checkpoint learned from radiographs that were standardised in another way."""
    recorded = str(read_record(path).get("preprocessing_digest"))
    if recorded != digest:
        raise UsageError(
            f"{_named(path)} was trained with preprocessing {recorded[:12]}, this is {digest[:12]}; "
            "name the --framing it was trained with, or train it again"
        )


def require_pair(lungs: Path, classifier: Path) -> None:
    """Raises UsageError when a classifier was trained with another lung network or another preprocessing than `lungs`.

    Checkpoints of earlier versions do not say which lung network; of them only the preprocessing is compared.
    """
    recorded = read_record(classifier).get("lungs_sha256")
    if recorded is not None and recorded != weights_sha256(lungs):
        raise UsageError(
            f"{_named(classifier)} was trained with other lung weights than {_named(lungs)}; "
            "name those with --lungs, or train the classifier again"
        )
    require_preprocessing(classifier, str(read_record(lungs).get("preprocessing_digest")))


def _named(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def load_lungs(path: Path) -> LungNet:
    """The U-Net of a checkpoint, in evaluation mode."""
    architecture = architecture_of(read_record(path), LungArchitecture)
    return _with_weights(LungNet(architecture), path)


def load_classifier(path: Path) -> tuple[Classifier, ClassifierArchitecture]:
    architecture = architecture_of(read_record(path), ClassifierArchitecture)
    return _with_weights(Classifier(architecture), path), architecture


def initialise(network: nn.Module, path: Path) -> None:
    """Weights of an earlier checkpoint of the same layers; its side may differ, convolutions do not mind."""
    try:
        network.load_state_dict(load_file(f"{path}.safetensors"))
    except RuntimeError:
        kind = type(network).__name__
        raise UsageError(f"{_named(path)} holds weights of other layers than this {kind}; name another") from None


def architecture_of(record: dict[str, Any], kind: type[_A]) -> _A:
    """What a checkpoint's record says of its network. Raises UsageError when it is of the other kind."""
    name = _KINDS[kind]
    if record["kind"] != name:
        raise UsageError(f"the checkpoint is of kind {record['kind']}, not {name}; name the other one")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in record["architecture"].items()
    }
    return kind(**values)


def _with_weights(network: _N, path: Path) -> _N:
    initialise(network, path)
    return network.eval()
