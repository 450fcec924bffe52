"""Plans by torch-tensorrt in the box's own store, each bound to the ONNX graph that the same export wrote.

What the route needs is looked for before anything slow is done; the compiling itself is torch_tensorrt.py's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.engines.base import Outputs
from edge.engines.opening import GpuPlace, find_gpu
from edge.engines.plans import ONNX, TORCH_TENSORRT, Found, PlanKey, PlanStore, plan_key
from edge.errors import BackendUnavailable
from edge.state import open_state
from export.fused import Fused
from export.proof import ask_plan
from export.torch_tensorrt import compile_plan, open_compiler, runtime_flavour


@dataclass(frozen=True)
class Machine:
    """How an export comes by a GPU and by the module torch_tensorrt. Tests have neither, and hand in their own."""

    find: Callable[[], GpuPlace] = find_gpu
    open_compiler: Callable[[], Any] = open_compiler


@dataclass(frozen=True)
class KeptPlan:
    """second: whether the store holds a plan of the same graph by way of ONNX too, which the box runs first."""

    path: Path
    size_bytes: int
    second: bool


@dataclass(frozen=True)
class TorchRoute:
    """compiler: the module torch_tensorrt."""

    machine: Machine
    compiler: Any
    store: PlanStore

    def make(
        self, fused: Fused, bundle: Bundle, precision: str, inputs: NDArray[np.float32]
    ) -> tuple[KeptPlan, Outputs]:
        """Compile a plan, ask it, and keep it as one that answers for the bundle's graph; its answers.

        Raises EngineError when torch-tensorrt cannot compile, or when the box's engine cannot run what it made.
        """
        plan = compile_plan(fused, precision=precision, compiler=self.compiler)
        place = self.machine.find()
        key = plan_key(bundle.model_bytes(precision), precision, place.flavour, place.cuda.gpu, compiler=TORCH_TENSORRT)
        answers = ask_plan(plan, bundle, precision, inputs, place)
        return self._keep(key, plan), answers

    def _keep(self, key: PlanKey, plan: bytes) -> KeptPlan:
        self.store.keep(key, plan)
        by_onnx = self.store.find(replace(key, compiler=ONNX))
        return KeptPlan(self.store.folder / f"{key.digest}.plan", len(plan), isinstance(by_onnx, Found))


def open_route(state: Path, machine: Machine, *, trusted_keys: tuple[str, ...] = ()) -> TorchRoute:
    """Raises BackendUnavailable when this machine cannot make plans for itself, and then writes nothing."""
    compiler = machine.open_compiler()
    place = machine.find()
    place.cuda.close()
    needed, flavour = runtime_flavour(compiler), place.flavour
    if flavour.name != needed:
        raise BackendUnavailable(
            f"torch-tensorrt {compiler.__version__} makes plans for {needed}, and the box here runs {flavour.name} "
            f"{flavour.version}; install the torch-tensorrt that is built on {flavour.name}"
        )
    folder = open_state(state)
    return TorchRoute(machine, compiler, PlanStore(folder.plans, site_key=folder.site_key, trusted_keys=trusted_keys))
