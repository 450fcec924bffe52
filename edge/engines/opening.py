"""Which backend and precision answer for a bundle on this machine."""

from edge.bundle import Bundle
from edge.engines.base import Engine
from edge.errors import BackendUnavailable, UsageError

_CPU_PREFERENCE = ("int8", "fp32", "fp16")  # int8 is about three times as fast as fp32 on a CPU with VNNI


def open_engine(bundle: Bundle, *, backend: str = "auto", precision: str = "auto") -> Engine:
    """Compile the bundle's network.

    Raises UsageError for a precision that the bundle does not hold, BackendUnavailable, EngineError.
    """
    chosen = choose_precision(bundle, precision)
    if backend == "tensorrt":
        raise BackendUnavailable("no TensorRT engine can be built by this version; use --backend openvino")
    # Imported here: the runtime takes a second to load, and commands that score nothing need not wait for it.
    from edge.engines.openvino_cpu import OpenVINOEngine  # noqa: PLC0415

    return OpenVINOEngine(bundle, chosen)


def choose_precision(bundle: Bundle, asked: str) -> str:
    held = bundle.manifest.precisions
    if asked == "auto":
        return next(precision for precision in _CPU_PREFERENCE if precision in held)
    if asked not in held:
        raise UsageError(f"bundle {bundle.manifest.name} holds {', '.join(held)}, not {asked}; choose one of them")
    return asked
