"""A manifest beside the three files that its lines may name."""

from pathlib import Path

HEADER = "path,patient_id,label,split,licence"
GROUPED = "path,patient_id,group_id,label,split"


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).write_text(name)
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return manifest
