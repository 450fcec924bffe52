"""Which backend and precision answer for a bundle on this machine."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from edge.bundle import Bundle
from edge.engines.base import Engine
from edge.engines.cuda import Cuda, open_cuda
from edge.engines.flavours import Flavour, installed_flavour
from edge.engines.plans import COMPILERS, Found, PlanStore, plan_key
from edge.engines.tensorrt_gpu import TensorRTEngine
from edge.errors import BackendUnavailable, BundleError, EngineError, PlanMissing, UsageError

# On a CPU with VNNI int8 is about three times as fast as fp32.
_PREFERENCE = {"openvino": ("int8", "fp32", "fp16"), "tensorrt": ("int8", "fp16", "fp32")}


@dataclass(frozen=True)
class GpuPlace:
    """Where a TensorRT engine can run."""

    cuda: Cuda
    flavour: Flavour


def find_gpu() -> GpuPlace:
    """Raises BackendUnavailable when there is no GPU, or no TensorRT for it."""
    try:
        cuda = open_cuda()  # first: without a GPU nobody waits for TensorRT's libraries
    except BackendUnavailable as missing:
        raise BackendUnavailable(f"{missing}; with an NVIDIA driver run pip install '.[tensorrt]' in a checkout, "
                                 "without one use --backend openvino") from None  # fmt: skip
    try:
        return place_on(cuda, installed_flavour())
    except BackendUnavailable:
        cuda.close()
        raise


def place_on(cuda: Cuda, flavour: Flavour) -> GpuPlace:
    """Raises BackendUnavailable when the GPU is none of those that TensorRT for RTX runs on."""
    if flavour.portable and cuda.gpu.compute_capability not in flavour.targets:
        raise BackendUnavailable(f"{flavour.name} {flavour.version} does not run on {cuda.gpu.name} "
                                 f"({cuda.gpu.compute_capability}); run: pip install tensorrt")  # fmt: skip
    return GpuPlace(cuda, flavour)


def open_engine(
    bundle: Bundle, *, backend: str = "auto", precision: str = "auto", plans: PlanStore | None = None,
    find: Callable[[], GpuPlace] = find_gpu,
) -> Engine:  # fmt: skip
    """The engine asked for; `auto` takes the GPU where one, TensorRT and a plan that loads are there, else the CPU.

    Raises UsageError for a precision that the bundle does not hold, BackendUnavailable, PlanMissing, EngineError.
    """
    if backend == "tensorrt":
        return open_tensorrt(bundle, precision, plans, find=find)
    if backend == "auto":
        try:
            return open_tensorrt(bundle, precision, plans, find=find)
        except EngineError:  # the daemon logs why, and `edge-cxr doctor` tells it
            pass
    return open_openvino(bundle, precision)


def open_openvino(bundle: Bundle, precision: str) -> Engine:
    chosen = choose_precision(bundle, precision)
    # Imported here: the runtime takes a second to load, and commands that score nothing need not wait for it.
    from edge.engines.openvino_cpu import OpenVINOEngine  # noqa: PLC0415

    return OpenVINOEngine(bundle, chosen)


def open_tensorrt(
    bundle: Bundle, precision: str, plans: PlanStore | None, *, find: Callable[[], GpuPlace] = find_gpu
) -> Engine:
    """Raises BackendUnavailable, PlanMissing when no plan fits this GPU and can be trusted, EngineError."""
    chosen = choose_precision(bundle, precision, "tensorrt")
    place = find()
    try:
        plan, compiler = _plan(bundle, chosen, plans, place)
    except BaseException:
        place.cuda.close()
        raise
    return TensorRTEngine(bundle, chosen, plan, flavour=place.flavour, cuda=place.cuda, compiler=compiler)


def _plan(bundle: Bundle, precision: str, plans: PlanStore | None, place: GpuPlace) -> tuple[bytes, str]:
    """The plan to run and its compiler: the box's own by ONNX goes first. Raises PlanMissing."""
    gpu, flavour = place.cuda.gpu, place.flavour
    why = "there is no state folder to keep plans in"
    if plans is not None:
        key = plan_key(bundle.model_bytes(precision), precision, flavour, gpu)
        reasons: dict[str, str] = {}
        for compiler in COMPILERS:
            found = plans.find(replace(key, compiler=compiler))
            if isinstance(found, Found):
                return found.plan, compiler
            reasons.setdefault(found.reason, compiler)
        first, *others = reasons.items()
        why = "; ".join([first[0], *(f"by {compiler} {reason}" for reason, compiler in others)])
    kept_in = "" if plans is None else f" --state {plans.folder.parent}"
    raise PlanMissing(
        f"no {precision} plan of bundle {bundle.manifest.name} for {gpu.name} ({gpu.compute_capability}) "
        f"with {flavour.name} {flavour.version}: {why}. "
        f"Run: edge-cxr build --precision {precision}{kept_in} with the same --bundle"
    )


def choose_precision(bundle: Bundle, asked: str, backend: str = "openvino") -> str:
    """A precision that the bundle holds and that did not fail its accuracy gate; one never measured may answer.

    Raises UsageError when the one asked for is not such, BundleError when there is none.
    """
    manifest = bundle.manifest
    failed = {name: outcome["failures"] for name, outcome in manifest.accuracy.items() if not outcome["passed"]}
    usable = [name for name in _PREFERENCE[backend] if name in manifest.precisions and name not in failed]
    if asked != "auto" and asked not in manifest.precisions:
        held = ", ".join(manifest.precisions)
        raise UsageError(f"bundle {manifest.name} holds {held}, not {asked}; choose one of them")
    if not usable:
        told = "; ".join(f"{name}: {_sentences(failures)}" for name, failures in failed.items())
        raise BundleError(
            f"bundle {manifest.name} passed its accuracy gate in no precision ({told}); use another bundle"
        )
    if asked in failed:
        raise UsageError(f"{asked} failed the accuracy gate of bundle {manifest.name} ({_sentences(failed[asked])}); "
                         f"choose {' or '.join(usable)}")  # fmt: skip
    return usable[0] if asked == "auto" else asked


def _sentences(failures: list[str]) -> str:
    return ", ".join(failures) or "no reason was recorded"
