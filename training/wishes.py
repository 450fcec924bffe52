"""What the user asked a study to be, before anything is read."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

import edge


@dataclass(frozen=True)
class Wishes:
    """What the user asked for. networks: () for all of the preset. draws: None for the preset's number."""

    manifest: Path
    preset: str
    out: Path
    cache: Path
    labels: tuple[str, str]
    framing: str
    networks: tuple[str, ...] = ()
    lungs: Path | None = None
    lung_manifest: Path | None = None
    inits: Mapping[str, Path] = field(default_factory=dict)
    draws: int | None = None
    source_draws: bool = True
    permitted_only: bool = False
    leave_out_refused: bool = False
    seed: int = 0
    operating_rule: str = "half"
    test_split: str | None = None
    methods: Path | None = None

    @property
    def command(self) -> str:
        """The command that asks for this, with files by name alone: a report says nothing of the machine."""
        words = ["edge-cxr train", f"--preset {self.preset}", f"--manifest {self.manifest.name}"]
        words += [f"--labels {','.join(self.labels)}", f"--framing {self.framing}", f"--seed {self.seed}"]
        words += [f"--network {name}" for name in self.networks]
        named = {"--lungs": self.lungs, "--lung-manifest": self.lung_manifest, "--methods": self.methods}
        words += [f"{option} {_short(path)}" for option, path in named.items() if path is not None]
        words += [f"--init {name}={_short(path)}" for name, path in self.inits.items()]
        given = {"--draws": self.draws, "--test-split": self.test_split, "--operating-rule": self.operating_rule}
        words += [f"{option} {value}" for option, value in given.items() if value is not None]
        flags = {"--no-source-draws": not self.source_draws, "--permitted-only": self.permitted_only}
        flags["--leave-out-refused"] = self.leave_out_refused
        return " ".join([*words, *(flag for flag, given in flags.items() if given), f"--out {self.out.name}"])


def _short(path: Path) -> str:
    """Enough of a path to tell a checkpoint from another."""
    return path.as_posix() if not path.is_absolute() else path.name


def versions() -> dict[str, str]:
    """Of what makes weights: another torch may round otherwise."""
    return {"edge-cxr": edge.__version__, "torch": torch.__version__, "python": platform.python_version()}
