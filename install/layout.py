"""Where everything goes on a box, below a folder that is / on the box itself and a scratch root elsewhere."""

from dataclasses import dataclass
from pathlib import Path

UNITS = "usr/local/lib/systemd/system"  # /etc/systemd/system stays the hospital's own


@dataclass(frozen=True)
class Layout:
    """root: DESTDIR; / on the box."""

    root: Path = Path("/")

    @property
    def here(self) -> bool:
        """Whether this very machine is meant: only then users are made and services told."""
        return self.root == Path("/")

    @property
    def program(self) -> Path:
        """Versions, each a virtual environment, and the links `venv` (in use) and `previous`."""
        return self.root / "opt/edge-cxr"

    @property
    def current(self) -> Path:
        return self.program / "venv"

    @property
    def previous(self) -> Path:
        return self.program / "previous"

    @property
    def laid_down(self) -> Path:
        """List of the files outside of `program` that uninstalling removes."""
        return self.program / "laid-down.json"

    @property
    def restart_due(self) -> Path:
        """Is there from before a switch until the daemon runs with it; names the version that ran before."""
        return self.program / "restart-due"

    @property
    def configuration(self) -> Path:
        return self.root / "etc/edge-cxr/edge-cxr.toml"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/edge-cxr"

    @property
    def command(self) -> Path:
        return self.root / "usr/local/bin/edge-cxr"

    def path_of(self, name: str) -> Path:
        """Of a file that is named as on the box, without the first slash."""
        return self.root / name

    def on_box(self, path: Path) -> Path:
        """The same path as the box will see it."""
        return Path("/") / path.relative_to(self.root)
