"""What a wheel file says of itself: name, version, licence, digest."""

import hashlib
import re
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from install.errors import InstallError

_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
_LICENCE = "License :: OSI Approved :: "


@dataclass(frozen=True)
class Wheel:
    """licence: an SPDX expression or the package's own words, empty where it says nothing."""

    name: str
    version: str
    licence: str
    sha256: str
    file: str
    needs: tuple[str, ...]


def read_wheel(path: Path) -> Wheel:
    """Raises InstallError when it is no wheel."""
    try:
        with zipfile.ZipFile(path) as opened:
            (metadata,) = [name for name in opened.namelist() if _METADATA.fullmatch(name)]
            told = HeaderParser().parsestr(opened.read(metadata).decode("utf-8", "replace"))
    except (zipfile.BadZipFile, ValueError, OSError):
        raise InstallError(f"{path.name} is no wheel, or is damaged; make the wheelhouse again") from None
    classified = [text.removeprefix(_LICENCE) for text in told.get_all("Classifier", []) if text.startswith(_LICENCE)]
    licence = told["License-Expression"] or "; ".join(classified) or _short(told["License"])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel(told["Name"], told["Version"], licence, digest, path.name, tuple(told.get_all("Requires-Dist", [])))


def _short(text: str | None) -> str:
    """Some packages put the whole text of the licence there."""
    return text.strip() if text and len(text.strip()) < 80 and "\n" not in text.strip() else ""
