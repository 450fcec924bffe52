"""The network that is measured: a bundle's, or the full ensemble untrained; its graphs, its torch module, its inputs.

Bundles hold ONNX alone. The torch peers of a bundle run its architectures with random weights: as much work, other
answers. The graphs of the ensemble are exported from the very module that its torch peers run.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.child import why
from edge.bundle import PACKAGED_FOLDER, PACKAGED_IDS, Bundle, open_bundle
from edge.errors import EdgeError
from export.bundle_writer import read_content
from export.fused import Fused
from export.graph import write_graph
from export.half import in_half
from export.loose_graphs import bundle_of
from export.parity import phantom_inputs
from training.model import Classifier, ClassifierArchitecture, LungArchitecture, LungNet, architecture_of

ENSEMBLE = ("resnet34", "resnet50", "resnet152", "vgg16")
CALIBRATION_PHANTOMS = 4  # untrained weights have no accuracy to lose: ranges need only be of the right size


@dataclass(frozen=True)
class Subject:
    """names: of the members. folder: holds model.<precision>.onnx for each of `precisions`; missing: why no other.

    members, lungs: empty and None where a bundle does not record them. own_weights: whether the torch module has the
    graphs' weights, so that their answers can be compared.
    """

    name: str
    names: tuple[str, ...]
    members: tuple[ClassifierArchitecture, ...]
    lungs: LungArchitecture | None
    framing: str
    folder: Path
    precisions: tuple[str, ...] = ()
    own_weights: bool = False
    missing: tuple[tuple[str, str], ...] = ()

    def graph(self, precision: str) -> Path:
        return self.folder / f"model.{precision}.onnx"

    def bundle(self, precision: str) -> Bundle:
        """One graph as a bundle for the box's engines."""
        return bundle_of(self.folder, (precision,), name=self.name, members=self.names)

    def module(self) -> Fused:
        """The torch module, the same weights each time."""
        if self.lungs is None:
            raise EdgeError(f"{self.name} does not record its architectures, so there is no torch module to measure")
        torch.manual_seed(0)
        networks = [Classifier(architecture) for architecture in self.members]
        for network in networks:
            fill_empty_norms(network)
        first = self.members[0]
        return Fused(LungNet(self.lungs), networks, side=first.side, lung_crop=first.lung_crop)

    def inputs(self, count: int) -> NDArray[np.float32]:
        """Phantoms as ModelInputs, float32 [count, 1, 1024, 1024]."""
        return phantom_inputs(self.framing, count)


def subject_of_bundle(name_or_folder: str, folder: Path) -> Subject:
    """A bundle's graphs, written to `folder` from its verified bytes."""
    bundle = open_bundle(name_or_folder)
    for precision in bundle.manifest.precisions:
        (folder / f"model.{precision}.onnx").write_bytes(bundle.model_bytes(precision))
    manifest = bundle.manifest
    source = PACKAGED_FOLDER / name_or_folder if name_or_folder in PACKAGED_IDS else Path(name_or_folder)
    training = read_content(source).training
    lungs, members = None, []
    if "lungs" in training:
        lungs = architecture_of(training["lungs"], LungArchitecture)
        members = [architecture_of(training["members"][name], ClassifierArchitecture) for name in manifest.members]
    return Subject(
        f"bundle {manifest.name}", manifest.members, tuple(members), lungs, manifest.preprocessing.framing, folder,
        manifest.precisions,
    )  # fmt: skip


def untrained(members: tuple[ClassifierArchitecture, ...], lungs: LungArchitecture, name: str, folder: Path) -> Subject:
    """A subject with random weights; its graphs are made by the steps that make a bundle's."""
    subject = planned(members, lungs, name, folder)
    module = subject.module()
    write_graph(module, subject.graph("fp32"))
    write_graph(in_half(module), subject.graph("fp16"))
    try:
        write_int8(subject)
    except Exception as fault:  # a quantizer that is missing or fails leaves the rest to be measured
        return replace(subject, precisions=("fp32", "fp16"), missing=(("int8", why(fault)),))
    return subject


def planned(members: tuple[ClassifierArchitecture, ...], lungs: LungArchitecture, name: str, folder: Path) -> Subject:
    """An untrained subject as it is once its graphs are in `folder`."""
    names = tuple(member.name for member in members)
    return Subject(name, names, members, lungs, "pad", folder, ("fp32", "fp16", "int8"), own_weights=True)


def planned_ensemble(side: int, folder: Path) -> Subject:
    members = tuple(ClassifierArchitecture(name, name, side=side) for name in ENSEMBLE)
    return planned(members, LungArchitecture(), f"untrained ensemble at {side} pixels", folder)


def full_ensemble(side: int, folder: Path) -> Subject:
    plan = planned_ensemble(side, folder)
    return untrained(plan.members, LungArchitecture(), plan.name, folder)


def fill_empty_norms(network: nn.Module) -> None:
    """Give residual branches that begin as zeros small random scales: products with zeros draw less power than real
    ones, and clocks rise. Small, for without trained statistics large ones would overflow fp16 in a deep network.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and not layer.weight.any():
            nn.init.uniform_(layer.weight, 0.1, 0.3)


def write_int8(subject: Subject) -> None:
    """Its int8 graph of its fp32 graph, which must be there; needs onnxruntime."""
    from calib.quantiser import open_quantiser  # noqa: PLC0415 - needs onnxruntime

    kept = []
    for number, pixels in enumerate(subject.inputs(CALIBRATION_PHANTOMS)):
        kept.append(subject.folder / f"calibration-{number}.npz")
        whole = np.array([0, 0, 1024, 1024, 0, 0, 1024, 1024])
        np.savez(kept[-1], pixels=np.rint(pixels[0] * 255).astype(np.uint8), crop=whole, sha256=np.array(""))
    quantiser = open_quantiser(
        subject.graph("fp32"), kept, radiographs_sha256="", preprocessing_digest="", calibrator="minmax",
        folder=subject.folder,
    )  # fmt: skip
    quantiser.write(subject.graph("int8"), quantiser.layers)
