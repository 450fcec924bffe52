"""The one network that a bundle holds: reduction, lung U-Net, members, mean and evidence map in a single module.

Its input is a ModelInput batch, its outputs answer everything the box asks, so that one engine call is enough.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from torch import Tensor, nn

from edge.engines.base import EVIDENCE_SIDE, MASK_SIDE
from training.lung_crop import lung_boxes, uncrop
from training.model import Classifier, LungNet, inputs_of, reduce_to


class Fused(nn.Module):
    """radiograph: float32 [N, 1, 1024, 1024] in 0..1. Outputs, in the order of edge.engines.base.OUTPUT_NAMES:

    score [N], member_scores [N, M], embedding [N, 128] of one member, lung_mask [N, 1, 256, 256] and evidence_map
    [N, 1, 32, 32], both in 0..1; the evidence map is the mean of the members'.
    """

    def __init__(
        self, lungs: LungNet, members: Sequence[Classifier], *, side: int, embedding_member: int = 0,
        lung_crop: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.lungs = lungs
        self.members = nn.ModuleList(fold_zero_channel(member) for member in members)
        self.side = side
        self.lung_crop = lung_crop
        self.embedding_member = embedding_member
        self.eval()

    def forward(self, radiograph: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        lung_mask = self.lungs(reduce_to(radiograph, MASK_SIDE)).sigmoid()  # [N, 1, 256, 256]
        channels = torch.cat(inputs_of(radiograph, lung_mask, self.side, lung_crop=self.lung_crop), dim=1)
        scores, embeddings, evidence = zip(*(_ask(member, channels) for member in self.members), strict=True)
        member_scores = torch.stack(scores, dim=1)
        evidence_map = torch.stack(evidence).mean(dim=0)
        if self.lung_crop:
            evidence_map = uncrop(evidence_map, lung_boxes(lung_mask), EVIDENCE_SIDE)
        return member_scores.mean(dim=1), member_scores, embeddings[self.embedding_member], lung_mask, evidence_map


def fold_zero_channel(member: Classifier) -> Classifier:
    """A copy whose first convolution reads two channels. Exact: the third was zeros, whatever its weights."""
    folded = copy.deepcopy(member)
    name, convolution = next((n, m) for n, m in folded.backbone.named_modules() if isinstance(m, nn.Conv2d))
    narrower = nn.Conv2d(
        2,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]  # torch types its own attributes more loosely
        convolution.stride,  # type: ignore[arg-type]
        convolution.padding,  # type: ignore[arg-type]
        bias=convolution.bias is not None,
    )
    narrower.weight.data = convolution.weight.data[:, :2].clone()
    if convolution.bias is not None:
        narrower.bias = convolution.bias
    parent, _, leaf = name.rpartition(".")
    setattr(folded.backbone.get_submodule(parent), leaf, narrower)
    return folded.eval()


def _ask(member: nn.Module, channels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Score [N], embedding [N, 128] and evidence [N, 1, 32, 32] of one member."""
    assert isinstance(member, Classifier)
    feature_map = member.backbone(channels)
    logits, embedding = member.head(feature_map.mean(dim=(2, 3)))
    evidence = member.evidence(feature_map)
    evidence = F.interpolate(evidence, size=(EVIDENCE_SIDE, EVIDENCE_SIDE), mode="bilinear", align_corners=False)
    return logits.softmax(dim=-1)[:, 1], embedding, evidence
