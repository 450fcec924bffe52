"""The two TensorRT packages that may be installed, `tensorrt` (10, 11) and `tensorrt_rtx`, as one value.

What differs between them and is asked by name is decided here; building is export/plan.py's, running tensorrt_gpu.py's.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from edge.errors import BackendUnavailable, EngineError

TENSORRT, TENSORRT_RTX = "tensorrt", "tensorrt-rtx"
FLAVOURS = (TENSORRT, TENSORRT_RTX)
_MOST_LINES = 8  # of the log, in an error


@dataclass(frozen=True)
class Flavour:
    """An installed TensorRT. module: the package itself."""

    name: str
    version: str
    module: Any

    @property
    def portable(self) -> bool:
        """Whether a plan runs on every GPU of its compute capability, whatever the driver."""
        return self.name == TENSORRT_RTX

    @property
    def strongly_typed(self) -> int:
        """Creation flags of a network. TensorRT 10 must be told, 11 and RTX know no other networks."""
        flag = getattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities to build for without their GPU, as sm_89; none for `tensorrt`."""
        if not self.portable:
            return ()
        names = self.module.ComputeCapability.__members__
        return tuple(f"sm_{name.removeprefix('SM')}" for name in names if name.startswith("SM"))

    def start(self, kind: str, log: "Log") -> Any:
        """TensorRT's `Runtime` or `Builder`. Raises EngineError where there is none, as with too old a driver."""
        try:
            return getattr(self.module, kind)(log)
        except TypeError as fault:  # pybind's, when the library answers with a null pointer
            raise EngineError(f"{self.name} {self.version} does not start here ({log.why()}; {fault}); it may need a "
                              "newer NVIDIA driver. Check: nvidia-smi") from None  # fmt: skip


def installed_flavour(name: str | None = None) -> Flavour:
    """The flavour asked for, or else the first that is installed. Raises BackendUnavailable."""
    asked = FLAVOURS if name is None else (name,)
    for candidate in asked:
        try:
            module = importlib.import_module(candidate.replace("-", "_"))
        except ImportError:  # also when a library of CUDA is missing
            continue
        return Flavour(candidate, module.__version__, module)
    raise BackendUnavailable(
        f"{' and '.join(asked)} cannot be imported; run: {' or '.join(f'pip install {one}' for one in asked)}"
    )


class Log(Protocol):
    """A TensorRT logger that keeps what went wrong."""

    def why(self) -> str:
        """The last complaints in one line, and forgets them."""


def open_log(flavour: Flavour) -> Any:
    """A Log for TensorRT objects to write to; it must outlive them."""
    base: Any = flavour.module.ILogger

    class Keeping(base):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            super().__init__()
            self._lines: list[str] = []

        def log(self, level: Any, message: str) -> None:
            if int(level) <= int(base.Severity.ERROR):
                self._lines = [*self._lines, " ".join(message.split())][-_MOST_LINES:]

        def why(self) -> str:
            told = "; ".join(dict.fromkeys(self._lines)) or "no reason given"
            self._lines = []
            return told

    return Keeping()
