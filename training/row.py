"""One line of a training manifest: a radiograph, and what its hospital knows of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TRAINING_SPLITS = frozenset({"train", "val"})
GATE = "gate"  # set aside for the accuracy gate of calibration (training/reserve.py)
_YES = frozenset({"1", "true", "yes", "y"})
_NO = frozenset({"0", "false", "no", "n"})
YES_OR_NO = _YES | _NO
# In lower case, as hospitals and DICOM (PatientSex) write it.
SEXES = {
    **dict.fromkeys(("m", "male", "man", "men"), "M"),
    **dict.fromkeys(("f", "female", "w", "woman", "women"), "F"),
    **dict.fromkeys(("", "u", "unknown", "o", "other", "n/a", "na", "none", "-", "?"), ""),
}


@dataclass(frozen=True)
class Row:
    """One radiograph of a manifest.

    line: line in the CSV, 1 is the header. columns: every column as it stood. annotator: of the lung mask, else "".
    """

    line: int
    path: Path
    patient_id: str
    label: str
    split: str
    view: str
    annotator: str
    mask_path: Path | None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def group_id(self) -> str:
        """Patients of one case or household; "" where none is known."""
        return self.columns.get("group_id", "")

    @property
    def cluster(self) -> str:
        """What is redrawn together in a bootstrap: the group (several patients of one case), or else the patient."""
        return self.group_id or self.patient_id

    @property
    def source(self) -> str:
        """The collection or archive it came from; the hospital where no source is named."""
        return self.columns.get("source", "") or self.columns.get("hospital", "")

    @property
    def hospital(self) -> str:
        """Empty where unknown."""
        return self.columns.get("hospital", "")

    @property
    def sex(self) -> str:
        """M, F, or "" where unknown."""
        return SEXES.get(self.columns.get("sex", "").lower(), "")

    @property
    def age(self) -> float | None:
        """Years. Raises ValueError when the column holds no number; the manifest is checked before."""
        return _number(self.columns.get("age", ""))

    @property
    def days_since_admission(self) -> float | None:
        return _number(self.columns.get("days_since_admission", ""))

    @property
    def hard(self) -> bool:
        """Whether radiologists called the case hard to diagnose."""
        return self.columns.get("hard", "").lower() in _YES

    @property
    def abnormal(self) -> bool | None:
        """Of a negative: whether there is another finding in the lungs; None where nobody said."""
        value = self.columns.get("abnormal", "").lower()
        return True if value in _YES else False if value in _NO else None

    @property
    def licence(self) -> str:
        """The radiograph's own licence; a lung manifest also names the mask's, which stands in `licence` there."""
        return self.columns.get("image_licence", self.columns.get("licence", ""))

    @property
    def checked(self) -> bool:
        """Whether the row is trained on or measured by: only those need a label and one split per patient."""
        return self.split in TRAINING_SPLITS or self.split == GATE or self.split.startswith("test")

    @property
    def counted(self) -> bool:
        """Whether it is checked, or will be once a split is drawn for it."""
        return self.checked or not self.split


def _number(text: str) -> float | None:
    return float(text) if text else None
