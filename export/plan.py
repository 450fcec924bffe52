"""ONNX graph -> TensorRT plan, the same way for tensorrt 10, 11 and tensorrt_rtx; what was parsed is inspected first.

Networks are strongly typed: precision lives in the graph (fp16 types, Q/DQ for int8). The box runs this: no torch here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from edge.engines.base import (
    EMBEDDING_SIZE,
    EVIDENCE_SIDE,
    INPUT_NAME,
    INPUT_SIDE,
    MASK_SIDE,
    OUTPUT_NAMES,
)
from edge.engines.flavours import Flavour, open_log
from edge.engines.plans import BATCHES
from edge.errors import EngineError, UsageError
from edge.outputs.durable import write_durably

_ANY = -1  # how TensorRT writes a free dimension
_LESS_THAN_FLOAT = {"float16", "bfloat16", "fp8", "fp4"}


@dataclass(frozen=True)
class TensorSummary:
    name: str
    dtype: str  # as numpy would say
    shape: tuple[int, ...]


@dataclass(frozen=True)
class NetworkSummary:
    """What TensorRT understood of a graph: the plan itself can be read back only on a GPU.

    layers: how many of each type. types: those in which any layer answers. heads: those in which matrix products and
    softmax do.
    """

    layers: tuple[tuple[str, int], ...]
    inputs: tuple[TensorSummary, ...]
    outputs: tuple[TensorSummary, ...]
    quantise: int
    dequantise: int
    quantised: int  # convolutions whose input and weights are both dequantised: TensorRT computes them in int8
    whole: int  # convolutions in float32 that are not quantised
    types: tuple[str, ...]
    heads: tuple[str, ...]
    convolutions: tuple[str, ...]  # the types in which convolutions answer


@dataclass(frozen=True)
class ParsedNetwork:
    """A network and all that must live as long: the parser owns the weights."""

    network: Any
    builder: Any
    parser: Any
    log: Any


def build_plan(
    model: bytes,
    flavour: Flavour,
    *,
    precision: str | None = None,
    targets: Sequence[str] = (),
    progress: Callable[[float], None] = lambda fraction: None,
    timing_cache: Path | None = None,
    workspace_bytes: int | None = None,
) -> bytes:
    """The serialised plan, for the GPU at hand or, with `targets` (sm_89, ...), for GPUs that need not be here.

    progress: told the fraction done, never less than before. timing_cache: file that spares a later build time.
    Raises EngineError when the graph cannot be parsed, is not what the box runs, or cannot be built.
    """
    parsed = parse(model, flavour)
    check(inspect(parsed.network), precision)
    config = parsed.builder.create_builder_config()
    _add_profile(parsed, config)
    _forbid_tf32(config, flavour)
    _set_targets(config, flavour, targets)
    if workspace_bytes is not None:
        config.set_memory_pool_limit(flavour.module.MemoryPoolType.WORKSPACE, workspace_bytes)
    timings = _timings(config, flavour, timing_cache)
    monitor = _monitor(flavour, progress)  # kept here: TensorRT does not
    config.progress_monitor = monitor
    plan = parsed.builder.build_serialized_network(parsed.network, config)
    if plan is None:
        raise EngineError(f"{flavour.name} {flavour.version} cannot build the plan ({parsed.log.why()}); "
                          "free GPU memory, or export the bundle again")  # fmt: skip
    if timings is not None and timing_cache is not None:
        write_durably(timing_cache, bytes(timings.serialize()))
    progress(1.0)
    return bytes(plan)


def parse(model: bytes, flavour: Flavour) -> ParsedNetwork:
    """Raises EngineError that names the node which TensorRT does not take."""
    module = flavour.module
    log = open_log(flavour)
    builder = flavour.start("Builder", log)
    network = builder.create_network(flavour.strongly_typed)
    parser = module.OnnxParser(network, log)
    if not parser.parse(model):
        raise EngineError(f"{flavour.name} {flavour.version} does not take the graph ({_complaint(parser)}); "
                          "export the bundle again")  # fmt: skip
    return ParsedNetwork(network, builder, parser, log)


def inspect(network: Any) -> NetworkSummary:
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    convolutions = [layer for layer in layers if layer.type.name == "CONVOLUTION"]
    dequantised = {layer.get_output(0).name for layer in layers if layer.type.name == "DEQUANTIZE"}
    floating = [layer for layer in convolutions if not _reads(layer, dequantised)]
    kinds = Counter(layer.type.name.lower() for layer in layers)

    def answers_in(*kinds: str) -> tuple[str, ...]:
        found = (layer.get_output(0).dtype for layer in layers if layer.type.name in kinds)
        return tuple(sorted({_dtype(dtype) for dtype in found}))

    return NetworkSummary(
        layers=tuple(sorted(kinds.items())),
        inputs=tuple(_tensor(network.get_input(number)) for number in range(network.num_inputs)),
        outputs=tuple(_tensor(network.get_output(number)) for number in range(network.num_outputs)),
        quantise=kinds["quantize"],
        dequantise=kinds["dequantize"],
        quantised=len(convolutions) - len(floating),
        whole=sum(_dtype(layer.get_output(0).dtype) == "float32" for layer in floating),
        types=answers_in(*(layer.type.name for layer in layers)),
        heads=answers_in("MATRIX_MULTIPLY", "SOFTMAX"),
        convolutions=answers_in("CONVOLUTION"),
    )


def check(summary: NetworkSummary, precision: str | None) -> None:
    """Raises EngineError for a network that the box does not run, or that is not in the precision it is said to be."""
    expected = {
        INPUT_NAME: (_ANY, 1, INPUT_SIDE, INPUT_SIDE),
        "score": (_ANY,),
        "member_scores": (_ANY, _ANY),
        "embedding": (_ANY, EMBEDDING_SIZE),
        "lung_mask": (_ANY, 1, MASK_SIDE, MASK_SIDE),
        "evidence_map": (_ANY, 1, EVIDENCE_SIDE, EVIDENCE_SIDE),
    }
    tensors = (*summary.inputs, *summary.outputs)
    if len(summary.inputs) != 1 or [tensor.name for tensor in tensors] != [INPUT_NAME, *OUTPUT_NAMES]:
        raise EngineError(f"the graph's inputs and outputs are {', '.join(tensor.name for tensor in tensors)}; "
                          f"they must be {', '.join(expected)}. Export the bundle again")  # fmt: skip
    for tensor in tensors:
        wanted = expected[tensor.name]
        if tensor.dtype != "float32" or not _fits(tensor.shape, wanted):
            raise EngineError(f"the graph's {tensor.name} is {tensor.dtype} {list(tensor.shape)}; it must be "
                              f"float32 {list(wanted)}. Export the bundle again")  # fmt: skip
    if summary.heads != ("float32",):
        raise EngineError(f"the graph's heads are in {_listed(summary.heads)}; they must be in float32. "
                          "Export the bundle again")  # fmt: skip
    if precision is not None:
        _check_precision(summary, precision)


def _check_precision(summary: NetworkSummary, precision: str) -> None:
    convolutions = dict(summary.layers).get("convolution", 0)
    if precision == "int8":
        # For the accuracy gate's sake nearly all may be in fp16; those in fp32 are a few that cannot be quantised.
        if not summary.quantised or 2 * summary.whole >= convolutions:
            raise EngineError(f"of the int8 graph's {convolutions} convolutions {summary.quantised} read Q/DQ and "
                              f"{summary.whole} are in float32; run: edge-cxr calibrate")  # fmt: skip
        return
    if summary.quantise or summary.dequantise:
        raise EngineError(f"the {precision} graph holds Q/DQ; it is an int8 graph. Export the bundle again")
    if precision == "fp16" and summary.convolutions != ("float16",):
        raise EngineError(f"the fp16 graph's convolutions are in {_listed(summary.convolutions)}; all must be in "
                          "float16. Export the bundle again")  # fmt: skip
    less = tuple(one for one in summary.types if one in _LESS_THAN_FLOAT)
    if precision == "fp32" and less:
        raise EngineError(f"layers of the fp32 graph answer in {_listed(less)}; export the bundle again")


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """A free batch must be free; how many members there are is the bundle's affair."""
    if len(shape) != len(wanted) or shape[0] != _ANY:
        return False
    return all(expected in (_ANY, got) for got, expected in zip(shape[1:], wanted[1:], strict=True))


def _reads(convolution: Any, dequantised: set[str]) -> bool:
    """Whether its input and its weights are; these are an input of their own only where they are computed."""
    return convolution.num_inputs > 1 and {convolution.get_input(place).name for place in (0, 1)} <= dequantised


def _listed(types: tuple[str, ...]) -> str:
    return ", ".join(types) or "none"


def _complaint(parser: Any) -> str:
    if not parser.num_errors:
        return "no reason given"
    fault = parser.get_error(0)
    node = fault.node_name() or fault.node_operator()
    return f"{node}: {fault.desc()}" if node else str(fault.desc())


def _tensor(tensor: Any) -> TensorSummary:
    return TensorSummary(tensor.name, _dtype(tensor.dtype), tuple(tensor.shape))


def _dtype(dtype: Any) -> str:
    names = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
    return names.get(dtype.name, str(dtype.name).lower())


def _add_profile(parsed: ParsedNetwork, config: Any) -> None:
    profile = parsed.builder.create_optimization_profile()
    profile.set_shape(INPUT_NAME, *((batch, 1, INPUT_SIDE, INPUT_SIDE) for batch in BATCHES))
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"TensorRT refuses batches of {BATCHES[0]} to {BATCHES[-1]} ({parsed.log.why()}); "
                          "export the bundle again")  # fmt: skip


def _forbid_tf32(config: Any, flavour: Flavour) -> None:
    """What a graph holds in fp32 is computed in fp32; TensorRT's default rounds to 10 bits of mantissa."""
    tf32 = getattr(flavour.module.BuilderFlag, "TF32", None)
    if tf32 is not None:
        config.clear_flag(tf32)


def _set_targets(config: Any, flavour: Flavour, targets: Sequence[str]) -> None:
    known = flavour.targets
    for target in targets:
        if target not in known:
            raise UsageError(f"{flavour.name} {flavour.version} builds for {', '.join(known) or 'the GPU at hand'} "
                             f"alone, not for {target}")  # fmt: skip
    if targets:
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            named = getattr(flavour.module.ComputeCapability, target.replace("sm_", "SM"))
            config.set_compute_capability(named, index)


def _timings(config: Any, flavour: Flavour, file: Path | None) -> Any:
    """How fast each kernel was, to be told to a later build; TensorRT-RTX times nothing while it builds."""
    if file is None or flavour.portable:
        return None
    kept = file.read_bytes() if file.exists() else b""
    for content in (kept, b""):  # one of another version or GPU is refused: begin anew
        timings = config.create_timing_cache(content)
        if timings is not None and config.set_timing_cache(timings, False):
            return timings
    return None


def _monitor(flavour: Flavour, progress: Callable[[float], None]) -> Any:
    """TensorRT tells of phases inside phases, perhaps from several threads: each has its share of its parent's step."""
    base: Any = flavour.module.IProgressMonitor

    class Monitor(base):
        def __init__(self) -> None:
            super().__init__()
            self._phases: dict[str, tuple[float, float]] = {}  # where the step at hand begins, and the share of a step
            self._most = 0.0
            self._lock = Lock()

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            with self._lock:
                start, share = self._phases.get(parent or "", (0.0, 1.0))
                self._phases[phase] = (start, share / max(steps, 1))

        def step_complete(self, phase: str, step: int) -> bool:
            with self._lock:
                start, share = self._phases.get(phase, (self._most, 0.0))
                self._phases[phase] = (start + share, share)
                self._tell(start + share)
            return True

        def phase_finish(self, phase: str) -> None:
            with self._lock:
                self._phases.pop(phase, None)

        def _tell(self, fraction: float) -> None:
            fraction = min(fraction, 1.0)
            if fraction > self._most:
                self._most = fraction
                progress(fraction)

    return Monitor()
