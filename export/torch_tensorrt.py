"""Fused network -> serialised TensorRT plan by torch-tensorrt: the other route to what export/plan.py makes from ONNX.

Inputs and outputs have the same names, order and types, so that one runtime and one plan cache take both.
torch-tensorrt 2.14 types its networks strongly: precision comes from the module's own types.
"""

import contextlib
import copy
import importlib
import inspect
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from edge.engines.base import INPUT_NAME, INPUT_SIDE, MAX_BATCH, OUTPUT_NAMES
from edge.engines.flavours import TENSORRT, TENSORRT_RTX
from edge.errors import BackendUnavailable, EngineError, UsageError
from export.fused import Fused
from export.half import in_half

PRECISIONS = ("fp32", "fp16")
_INSTALL = "pip install 'torch-tensorrt>=2.14'"
_NAMES = ("arg_input_binding_names", "output_binding_names")


def compile_plan(
    fused: Fused, *, precision: str, progress: Callable[[float], None] = lambda fraction: None, compiler: Any = None
) -> bytes:
    """A plan for batch 1 to 8 of the GPU at hand.

    compiler: the module torch_tensorrt; imported unless given. progress: told 0, 0.1 (exported) and 1 (built), for
    torch-tensorrt tells nothing of its own progress.
    Raises UsageError for int8, BackendUnavailable without a GPU or torch-tensorrt, EngineError when it cannot compile.
    """
    if precision not in PRECISIONS:
        raise UsageError(
            f"torch-tensorrt makes {' and '.join(PRECISIONS)} plans, not {precision}; "
            "int8 needs the Q/DQ of the ONNX graph. Run: edge-cxr build --precision int8"
        )
    compiler = compiler or open_compiler()
    convert = _naming_converter(compiler)
    progress(0.0)
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")  # deprecations within the exporter and the compiler
        program = _exported(in_half(fused) if precision == "fp16" else copy.deepcopy(fused))
        progress(0.1)
        shape = (1, INPUT_SIDE, INPUT_SIDE)
        batches = {"min_shape": (1, *shape), "opt_shape": (1, *shape), "max_shape": (MAX_BATCH, *shape)}
        with tempfile.TemporaryDirectory() as scratch:
            try:
                plan = convert(
                    program,
                    arg_inputs=(compiler.Input(**batches, dtype=torch.float32, name=INPUT_NAME),),
                    arg_input_binding_names=(INPUT_NAME,),
                    output_binding_names=tuple(OUTPUT_NAMES),
                    disable_tf32=True,  # as the other route
                    # The default lies in a folder that every user of the machine can write.
                    timing_cache_path=str(Path(scratch, "timing.cache")),
                )
            except Exception as fault:  # whatever an operator's converter raises
                why = f"{type(fault).__name__}: {_first_line(fault)}"
                raise EngineError(
                    f"torch-tensorrt cannot compile the network in {precision} ({why}). Run: edge-cxr build"
                ) from fault
    progress(1.0)
    return plan


def runtime_flavour(compiler: Any = None) -> str:
    """The flavour of TensorRT that runs what compile_plan makes: the one that torch-tensorrt is built on."""
    compiler = compiler or open_compiler()
    return TENSORRT_RTX if "rtx" in compiler.tensorrt_package_name else TENSORRT


def _exported(fused: Fused) -> torch.export.ExportedProgram:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    example = torch.zeros(2, 1, INPUT_SIDE, INPUT_SIDE, device=device)  # 1 would be taken for a constant
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    return torch.export.export(fused.to(device), (example,), dynamic_shapes=({0: batch},))


def open_compiler() -> Any:
    """The module torch_tensorrt, able to do what is asked here.

    Raises BackendUnavailable when it is missing or too old, and without a GPU: it needs one even to be imported.
    """
    if not torch.cuda.is_available():
        raise BackendUnavailable("torch-tensorrt needs an NVIDIA GPU and none is seen; run this on a machine with one")
    try:
        compiler = importlib.import_module("torch_tensorrt")
    except Exception as fault:  # it raises bare Exceptions where TensorRT is missing
        raise BackendUnavailable(f"torch-tensorrt cannot be loaded ({_first_line(fault)}). Run: {_INSTALL}") from None
    _naming_converter(compiler)
    return compiler


def _naming_converter(compiler: Any) -> Callable[..., bytes]:
    """Raises BackendUnavailable for a version that would ignore the names asked for and choose its own."""
    convert = compiler.dynamo.convert_exported_program_to_serialized_trt_engine
    if not set(_NAMES) <= set(inspect.signature(convert).parameters):
        raise BackendUnavailable(
            f"torch-tensorrt {compiler.__version__} cannot name a plan's inputs and outputs. Run: {_INSTALL}"
        )
    return convert


def _first_line(fault: Exception) -> str:
    return next(iter(str(fault).strip().splitlines()), "no reason given")
