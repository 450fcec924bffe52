"""Where a backbone's first weights come from: ImageNet's by way of timm's hub, a file the user names, or nowhere.

What happened is said aloud and returned for the record. Only safetensors are opened: a pickle can run code.
"""

import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edge.errors import UsageError
from training.fit import Say

_PATIENCE_S = 3.0  # for the hub to answer at all; its own client would try again for most of a minute
_CLASSIFIERS = ("fc.", "classifier.", "head.", "pre_logits.", "last_linear.", "op_threshs")
_PREFIXES = ("module.", "model.", "backbone.", "network.", "net.", "encoder.")
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # torchvision's of 2017: norm.1 for norm1
_CONVERT = (
    "import torch; from safetensors.torch import save_file; state = torch.load({was!r}, weights_only=True); "
    "state = state.get('state_dict', state); save_file({{k: v.clone() for k, v in state.items()}}, {now!r})"
)


def first_weights(backbone: nn.Module, name: str, wish: str | Path | None, say: Say) -> str:
    """Fills the backbone, a timm network of this name without its classifier, and returns what filled it.

    wish: "imagenet", a .safetensors file, or None. Without a hub the backbone stays as it is: "scratch".
    Raises UsageError if a file cannot be used for this backbone, before anything in it has changed.
    """
    if isinstance(wish, Path):
        state, record = _read(wish)
        _check_stride(backbone, record, wish)
        _fill(backbone, name, state, wish.name)
        described = f"file {wish.name} sha256 {hashlib.sha256(wish.read_bytes()).hexdigest()}"
    elif wish == "imagenet":
        described = _from_hub(backbone, name, say)
    else:
        described = "scratch"
    say(f"{name}: {'no first weights, training from scratch' if described == 'scratch' else described}")
    return described


def _from_hub(backbone: nn.Module, name: str, say: Say) -> str:
    known = timm.get_pretrained_cfg(name, allow_unregistered=True) if timm.is_model(name) else None
    if known is None or not known.hf_hub_id:
        say(f"{name}: timm's hub has no ImageNet weights for it; name a .safetensors file to have them")
        return "scratch"
    file = _fetch(known.hf_hub_id)
    if isinstance(file, str):
        say(f"{name}: no ImageNet weights: {file}; name a .safetensors file to have them")
        return "scratch"
    _fill(backbone, name, _read(file)[0], known.hf_hub_id)
    return f"imagenet (timm {known.architecture}.{known.tag}, {known.license})"


def _fetch(repository: str) -> Path | str:
    """The file, from the hub's cache or the hub, or why there is none."""
    cached = try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(cached, str):
        return Path(cached)
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set and they are not in the cache"
    try:
        asked = urllib.request.Request(f"{constants.ENDPOINT}/{repository}/resolve/main/config.json", method="HEAD")
        urllib.request.urlopen(asked, timeout=_PATIENCE_S).close()
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as unreachable:  # the client's own are requests' or httpx's, by its version
        return f"{constants.ENDPOINT} cannot be reached ({_first_line(unreachable)})"


def _first_line(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return next(iter(str(reason).splitlines()), "") or type(error).__name__


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by their name in the file, and the file's own record."""
    if file.suffix in (".pth", ".pt", ".ckpt", ".bin", ".tar", ".pkl"):
        code = _CONVERT.format(was=file.name, now=f"{file.stem}.safetensors")
        raise UsageError(f'{file} is a pickle, which can run code, and is never opened; convert it: python -c "{code}"')
    if file.suffix != ".safetensors":
        raise UsageError(
            f"first weights must be .safetensors, {file.name} ends in {file.suffix or 'nothing'}; save the network's "
            "state as PyTorch names it with safetensors.torch.save_file (from ImageNet's Keras ResNet50: "
            "python -m training.keras_resnet50)"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise UsageError(f"no first weights at {file}; name an existing .safetensors file") from None
    except (SafetensorError, OSError) as damaged:
        raise UsageError(f"{file} cannot be read as safetensors ({damaged}); copy or convert it again") from None


def _check_stride(backbone: nn.Module, record: dict[str, str], file: Path) -> None:
    """The shapes of the two kinds of ResNet50 are the same: a file that says which it is must get that one."""
    strides = [module.stride for name, module in backbone.named_modules() if name == "layer2.0.conv1"]
    if record.get("stride") == "conv1" and strides != [(2, 2)]:
        raise UsageError(
            f"{file.name} is of a ResNet that halves in its first 1x1 convolutions, the network does not (stride "
            f"{strides}); take the backbone resnet50-v1, or other weights"
        )


def _fill(backbone: nn.Module, name: str, state: dict[str, Tensor], origin: str) -> None:
    """Raises UsageError, and changes nothing, unless every tensor of the backbone is there."""
    expected = backbone.state_dict()
    given = dict(_renamed(state, name, set(expected)))
    first = next(iter(expected))
    if first in given and given[first].shape[1:2] == (1,) and expected[first].shape[1:2] == (3,):
        given[first] = _as_radiograph_channel(given[first])
    needed = [key for key in expected if not key.endswith("num_batches_tracked")]
    missing = [key for key in needed if key not in given]
    shapes = [
        f"{key} {list(given[key].shape)}, not {list(expected[key].shape)}"
        for key in needed
        if key in given and given[key].shape != expected[key].shape
    ]
    if missing or shapes:
        raise UsageError(
            f"{origin} lacks {len(missing)} of the {len(needed)} tensors of {name} and has {len(shapes)} of another "
            f"shape (first: {[*shapes, *missing][0]}); give weights of {name}, named as timm or torchvision names them"
        )
    backbone.load_state_dict({key: given[key] for key in expected if key in given}, strict=False)


def _renamed(state: dict[str, Tensor], name: str, expected: set[str]) -> Iterator[tuple[str, Tensor]]:
    """By the backbone's names, whatever wrapped it when it was saved. What it does not have is left out."""
    prefixes = (*_PREFIXES, f"{name.split('.', maxsplit=1)[0].removesuffix('-v1')}.")
    for key, tensor in state.items():
        short = _OLD_DENSENET.sub(r"\1\2", key)
        while short not in expected and f"features.{short}" not in expected and short.startswith(prefixes):
            short = short.split(".", 1)[1]
        if short in expected:
            yield short, tensor
        elif not short.startswith(_CLASSIFIERS) and f"features.{short}" in expected:
            yield f"features.{short}", tensor


def _as_radiograph_channel(kernels: Tensor) -> Tensor:
    """[out, 1, h, w] -> [out, 3, h, w]: the radiograph is our first channel, and what it does there stays the same.

    Sharing the kernels among the three, as for copies of one grey image, would read lungs and zeros as grey levels.
    """
    return torch.cat([kernels, torch.zeros_like(kernels), torch.zeros_like(kernels)], dim=1)
