"""The GPU's engine: a verified plan in TensorRT, its device and pinned buffers, and the order of copies and computing.

A batch goes through in chunks: while one is computed the next is copied in and the one before is copied out.
"""

import contextlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.engines.base import (
    EMBEDDING_SIZE,
    EVIDENCE_SIDE,
    INPUT_NAME,
    INPUT_SIDE,
    MASK_SIDE,
    MAX_BATCH,
    OUTPUT_NAMES,
    Engine,
    Outputs,
)
from edge.engines.cuda import Cuda, Memory, Pinned
from edge.engines.flavours import Flavour, open_log
from edge.engines.plans import ONNX
from edge.errors import EngineError, OutOfMemory
from edge.values import EngineIdentity

_LANES = 2
_FLOAT_BYTES = 4
_NO_MEMORY = ("out of memory", "outofmemory", "memory allocation", "memoryallocation")


class TensorRTEngine(Engine):
    """Owns `cuda` and closes it. Answers in whichever thread calls, one at a time.

    Raises EngineError when the plan does not load, or the GPU has too little memory for a single radiograph.
    """

    gains_by = MAX_BATCH

    def __init__(
        self, bundle: Bundle, precision: str, plan: bytes, *, flavour: Flavour, cuda: Cuda, compiler: str = ONNX
    ) -> None:
        manifest = bundle.manifest
        version = f"{flavour.name} {flavour.version}{'' if compiler == ONNX else f' ({compiler})'}"
        identity = EngineIdentity(bundle.id, "tensorrt", precision, version)
        super().__init__(
            identity, members=manifest.members, preprocessing_digest=manifest.preprocessing_digest,
            temperature=manifest.temperatures.get(precision),
        )  # fmt: skip
        self._cuda: Cuda | None = cuda
        self._network: _Network | None = None
        self._lanes: list[_Lane] = []
        try:
            with cuda.current():
                self._network = _Network(flavour, cuda)
                self._network.load(plan)
                self._make_lanes(self._network, MAX_BATCH // _LANES)
        except BaseException:
            self.close()
            raise

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        if self._cuda is None or self._network is None:
            raise EngineError("the engine is closed and answers no more; start the box again")
        with self._cuda.current():
            if not self._lanes:  # the last batch found no memory for a single radiograph; there may be some by now
                self._make_lanes(self._network, MAX_BATCH // _LANES)
            while True:
                try:
                    return self._in_chunks(batch)
                except OutOfMemory as fault:
                    self._shrink(self._network, self._lanes[0].rows // 2, fault)

    def close(self) -> None:
        """A fault of CUDA in doing so is not told: who closes has all answers, or an earlier fault to tell."""
        if self._cuda is None:
            return
        cuda, self._cuda = self._cuda, None
        with contextlib.suppress(EngineError):
            try:
                with cuda.current():
                    self._free_all()
            finally:
                cuda.close()

    def _in_chunks(self, batch: NDArray[np.float32]) -> Outputs:
        """Lanes take turns; each is emptied before it is filled again."""
        rows = self._lanes[0].rows
        chunks = [batch[start : start + rows] for start in range(0, len(batch), rows)]
        answers: list[list[NDArray[np.float32]]] = []
        for number, chunk in enumerate(chunks):
            if number >= _LANES:
                answers.append(self._lanes[number % _LANES].collect())
            self._lanes[number % _LANES].start(chunk)
        answers += [self._lanes[number % _LANES].collect() for number in range(len(answers), len(chunks))]
        return Outputs(*(np.concatenate(parts) for parts in zip(*answers, strict=True)))

    def _make_lanes(self, network: "_Network", rows: int) -> None:
        """Lanes for `rows` radiographs each, or for as many as there is memory for."""
        assert self._cuda is not None
        try:
            for _ in range(_LANES):
                self._lanes.append(_Lane(self._cuda, network, rows))
                self._lanes[-1].allocate(len(self.members))
        except OutOfMemory as fault:
            self._shrink(network, rows // 2, fault)

    def _shrink(self, network: "_Network", rows: int, fault: OutOfMemory) -> None:
        self._free_lanes()
        network.release()
        if rows == 0:
            raise EngineError(f"not even one radiograph fits: {fault}") from None
        self._make_lanes(network, rows)

    def _free_all(self) -> None:
        try:
            self._free_lanes()
        finally:
            if self._network is not None:
                self._network.close()
                self._network = None

    def _free_lanes(self) -> None:
        for lane in self._lanes:
            lane.free()
        self._lanes = []


class _Network:
    """The plan in TensorRT's runtime, the stream it computes on, and scratch memory for the batch at hand.

    Nothing but it holds TensorRT's objects, not even the frames of a traceback: `close` frees them.
    """

    def __init__(self, flavour: Flavour, cuda: Cuda) -> None:
        self._flavour, self._cuda = flavour, cuda
        self._log = open_log(flavour)
        self._scratch: Memory | None = None
        self._count = 0  # radiographs that shapes and scratch memory are for
        self.stream = cuda.stream()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None

    def load(self, plan: bytes) -> None:
        """Raises OutOfMemory, EngineError; `close` then frees what there is."""
        self._runtime = self._flavour.start("Runtime", self._log)
        self._check_validity(plan)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self._fault("TensorRT cannot load the plan", todo="edge-cxr build")
        self._check_tensors()
        # Scratch memory is ours: reserved by TensorRT it would be for the largest batch, and fail as a whole.
        strategy = self._flavour.module.ExecutionContextAllocationStrategy.USER_MANAGED
        self._context = self._engine.create_execution_context(strategy)
        if self._context is None:
            raise self._fault("TensorRT cannot make an execution context")

    def enqueue(self, count: int, addresses: dict[str, int]) -> None:
        """Compute `count` radiographs on `stream`, from and to device memory. Raises OutOfMemory, EngineError."""
        if count != self._count:
            self._fit(count)
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise self._fault(f"TensorRT refuses the buffer of {name}")
        if not self._context.execute_async_v3(self.stream.handle):
            raise self._fault("TensorRT failed")

    def _fit(self, count: int) -> None:
        if not self._context.set_input_shape(INPUT_NAME, (count, 1, INPUT_SIDE, INPUT_SIDE)):
            raise self._fault(f"TensorRT refuses a batch of {count}")
        needed = max(1, self._context.update_device_memory_size_for_shapes())
        if self._scratch is None or self._scratch.size_bytes < needed:
            self.release()
            self._scratch = self._cuda.allocate(needed)
        self._context.set_device_memory(self._scratch.address, self._scratch.size_bytes)
        self._count = count

    def release(self) -> None:
        """Free the scratch memory when nothing computes in it any more."""
        self._cuda.synchronise(self.stream)
        self._count = 0
        if self._scratch is not None:
            scratch, self._scratch = self._scratch, None
            scratch.free()

    def close(self) -> None:
        try:
            self.release()
        finally:
            del self._context, self._engine, self._runtime, self.stream  # each needs the ones after it

    def _check_validity(self, plan: bytes) -> None:
        """TensorRT-RTX says beforehand whether a plan runs here, and why not."""
        if not hasattr(self._runtime, "get_engine_validity"):
            return
        module = self._flavour.module
        validity, flaws = self._runtime.get_engine_validity(plan)
        if validity == module.EngineValidity.INVALID:
            kinds = module.EngineInvalidityDiagnostics.__members__.items()
            why = ", ".join(name.lower().replace("_", " ") for name, kind in kinds if int(flaws) & int(kind))
            raise EngineError(f"the plan does not run on this machine ({why or 'no reason given'}). "
                              "Run: edge-cxr build")  # fmt: skip

    def _check_tensors(self) -> None:
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        if sorted(names) != sorted((INPUT_NAME, *OUTPUT_NAMES)):
            raise EngineError(f"the plan's inputs and outputs are {', '.join(names)}. Run: edge-cxr build")
        for name in names:
            dtype = self._engine.get_tensor_dtype(name)
            if dtype != self._flavour.module.DataType.FLOAT:
                raise EngineError(f"the plan's {name} is {dtype}, not float. Run: edge-cxr build")

    def _fault(self, happened: str, *, todo: str = "edge-cxr doctor") -> EngineError:
        why = self._log.why()
        if any(words in why.lower() for words in _NO_MEMORY):
            return OutOfMemory(f"{happened} ({why}); stop what else uses the GPU")
        return EngineError(f"{happened} ({why}). Run: {todo}")


class _Lane:
    """A stream of copies with device and pinned buffers for `rows` radiographs: the input and every output."""

    def __init__(self, cuda: Cuda, network: _Network, rows: int) -> None:
        self._cuda, self._network = cuda, network
        self.rows = rows
        self._stream = cuda.stream()
        self._device: dict[str, Memory] = {}
        self._pinned: dict[str, Pinned] = {}
        self._count = 0  # radiographs on their way

    def allocate(self, members: int) -> None:
        """Raises OutOfMemory; `free` then frees what there is."""
        for name, shape in _shapes(self.rows, members).items():
            self._device[name] = self._cuda.allocate(math.prod(shape) * _FLOAT_BYTES)
            self._pinned[name] = self._cuda.pin(shape)

    def start(self, chunk: NDArray[np.float32]) -> None:
        """Copy in, compute, copy out: all is enqueued and nothing waited for."""
        self._count = len(chunk)
        given = self._pinned[INPUT_NAME].array[: self._count]
        given[:] = chunk
        self._cuda.copy_in(self._device[INPUT_NAME], given, self._stream)
        self._cuda.wait(self._network.stream, after=self._stream)
        self._network.enqueue(self._count, {name: memory.address for name, memory in self._device.items()})
        self._cuda.wait(self._stream, after=self._network.stream)
        for name in OUTPUT_NAMES:
            self._cuda.copy_out(self._pinned[name].array[: self._count], self._device[name], self._stream)

    def collect(self) -> list[NDArray[np.float32]]:
        """The outputs, copied out of the pinned buffers that the next chunk overwrites."""
        self._cuda.synchronise(self._stream)
        return [self._pinned[name].array[: self._count].copy() for name in OUTPUT_NAMES]

    def free(self) -> None:
        """When nothing reads or writes the buffers any more."""
        self._cuda.synchronise(self._network.stream)
        self._cuda.synchronise(self._stream)
        buffers: list[Memory | Pinned] = [*self._device.values(), *self._pinned.values()]
        for buffer in buffers:
            buffer.free()
        self._device, self._pinned = {}, {}


def _shapes(rows: int, members: int) -> dict[str, tuple[int, ...]]:
    return {
        INPUT_NAME: (rows, 1, INPUT_SIDE, INPUT_SIDE),
        "score": (rows,),
        "member_scores": (rows, members),
        "embedding": (rows, EMBEDDING_SIZE),
        "lung_mask": (rows, 1, MASK_SIDE, MASK_SIDE),
        "evidence_map": (rows, 1, EVIDENCE_SIDE, EVIDENCE_SIDE),
    }
