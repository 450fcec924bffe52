"""A GPU without a GPU: CUDA's memory and streams, and TensorRT's runtime on top of them, as strict as can be.

Work is done only when somebody waits for it, so that what is read too soon holds no answer. Every two accesses of one
buffer must be ordered by a stream, a wait or a synchronise; memory must be freed once, after its last use.
"""

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any

import numpy as np
from fake_engine import mean_of
from numpy.typing import NDArray

from edge.engines import Outputs
from edge.engines.base import INPUT_NAME, INPUT_SIDE, MAX_BATCH, OUTPUT_NAMES
from edge.engines.cuda import Gpu
from edge.engines.flavours import Flavour
from edge.errors import OutOfMemory

PLAN = b"a plan"
SCRATCH_BYTES = 1_000_000  # for each radiograph


@dataclass(frozen=True)
class Operation:
    """before: numbers of the operations that are certain to be done when this one begins."""

    number: int
    name: str
    before: frozenset[int]
    action: Callable[[], None]


@dataclass
class FakeStream:
    handle: int
    given: set[int] = field(default_factory=set)  # and what those wait for


class _Memory:
    """What device and pinned memory have in common: who uses it, and that it is freed once, and not in use."""

    def __init__(self, cuda: "FakeCuda", size_bytes: int) -> None:
        self._cuda = cuda
        self.size_bytes = size_bytes
        self.accesses: list[tuple[int, bool]] = []
        self.freed = False

    def accessed(self, operation: Operation, writes: bool) -> None:
        assert not self.freed, f"{operation.name} uses freed memory"
        for earlier, wrote in self.accesses:
            ordered = earlier in operation.before or not (writes or wrote)
            assert ordered, f"race: {operation.name} does not wait for operation {earlier} on the same memory"
        self.accesses.append((operation.number, writes))

    def free(self) -> None:
        self._cuda.require_current()
        assert not self.freed, "freed twice"
        assert {number for number, _ in self.accesses} <= self._cuda.known_done, "freed while in use"
        self.freed = True
        self._cuda.used_bytes -= self.size_bytes


class FakeMemory(_Memory):
    def __init__(self, cuda: "FakeCuda", size_bytes: int, address: int) -> None:
        super().__init__(cuda, size_bytes)
        self.address = address
        self.content = np.full(size_bytes, 0xFF, np.uint8)  # not a number, as float32


class FakePinned(_Memory):
    def __init__(self, cuda: "FakeCuda", shape: tuple[int, ...]) -> None:
        super().__init__(cuda, int(np.prod(shape)) * 4)
        self.array = np.full(shape, np.nan, np.float32)

    def free(self) -> None:
        super().free()
        self.array[:] = np.nan


class FakeCuda:
    """most_bytes: device and pinned memory together. allocations: how often memory was asked for."""

    def __init__(self, *, most_bytes: int = 10**12, gpu: Gpu | None = None) -> None:
        self.gpu = gpu or Gpu("Fake GPU", "1.0", "sm_89")
        self.most_bytes, self.used_bytes = most_bytes, 0
        self.operations: list[Operation] = []
        self.known_done: set[int] = set()  # by the host
        self.allocations = 0
        self.closed = False
        self.tensorrt: weakref.WeakSet[Any] = weakref.WeakSet()  # its objects, which need the context to be freed
        self._streams: dict[int, FakeStream] = {}
        self._memory: dict[int, FakeMemory] = {}
        self._pinned: list[FakePinned] = []
        self._done: set[int] = set()
        self._threads: set[int] = set()

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        assert not self.closed, "used after close"
        self._threads.add(threading.get_ident())
        try:
            yield
        finally:
            self._threads.discard(threading.get_ident())

    def require_current(self) -> None:
        assert threading.get_ident() in self._threads, "CUDA is not current in this thread"

    def free_bytes(self) -> int:
        self.require_current()
        return self.most_bytes - self.used_bytes

    def allocate(self, size_bytes: int) -> FakeMemory:
        self._take(size_bytes)
        memory = FakeMemory(self, size_bytes, address=256 * (1 + self.allocations))
        self._memory[memory.address] = memory
        return memory

    def pin(self, shape: tuple[int, ...]) -> FakePinned:
        self._take(int(np.prod(shape)) * 4)
        self._pinned.append(FakePinned(self, shape))
        return self._pinned[-1]

    def stream(self) -> FakeStream:
        self.require_current()
        stream = FakeStream(handle=len(self._streams) + 1)
        self._streams[stream.handle] = stream
        return stream

    def copy_in(self, target: FakeMemory, source: NDArray[np.float32], stream: FakeStream) -> None:
        assert source.nbytes <= target.size_bytes

        def copy() -> None:
            target.content[: source.nbytes] = source.reshape(-1).view(np.uint8)

        self.enqueue("copy in", stream, copy, reads=[self._pinned_of(source)], writes=[target])

    def copy_out(self, target: NDArray[np.float32], source: FakeMemory, stream: FakeStream) -> None:
        assert target.nbytes <= source.size_bytes

        def copy() -> None:
            target.reshape(-1)[:] = source.content[: target.nbytes].view(np.float32)

        self.enqueue("copy out", stream, copy, reads=[source], writes=[self._pinned_of(target)])

    def wait(self, stream: FakeStream, *, after: FakeStream) -> None:
        self.require_current()
        stream.given |= after.given

    def synchronise(self, stream: FakeStream) -> None:
        self.require_current()
        for operation in self.operations:
            if operation.number in stream.given - self._done:
                operation.action()
                self._done.add(operation.number)
        self.known_done |= stream.given

    def close(self) -> None:
        assert not self.closed, "closed twice"
        assert self.used_bytes == 0, f"{self.used_bytes} bytes were not freed"
        assert not self.tensorrt, f"the context goes before {', '.join(type(one).__name__ for one in self.tensorrt)}"
        self.closed = True

    def at(self, address: int) -> FakeMemory:
        return self._memory[address]

    def enqueue(
        self,
        name: str,
        stream: FakeStream | int,
        action: Callable[[], None],
        *,
        reads: list[Any],
        writes: list[Any],
    ) -> None:
        self.require_current()
        stream = self._streams[stream] if isinstance(stream, int) else stream
        operation = Operation(len(self.operations), name, frozenset(stream.given | self.known_done), action)
        for memory in reads:
            memory.accessed(operation, False)
        for memory in writes:
            memory.accessed(operation, True)
        self.operations.append(operation)
        stream.given |= {operation.number, *operation.before}

    def _take(self, size_bytes: int) -> None:
        self.require_current()
        if self.used_bytes + size_bytes > self.most_bytes:
            raise OutOfMemory(f"{self.most_bytes - self.used_bytes} bytes are free, not {size_bytes}")
        self.used_bytes += size_bytes
        self.allocations += 1

    def _pinned_of(self, array: NDArray[np.float32]) -> FakePinned:
        assert array.flags.c_contiguous
        return next(pinned for pinned in self._pinned if np.shares_memory(pinned.array, array))


class DataType(Enum):
    FLOAT = 0
    HALF = 1


class FakeTensorRT:
    """The module: its runtime loads PLAN alone and answers with a function.

    complaints: what the next executions fail with. load_complaint: what every plan is refused with. tensors: names and
    types of inputs and outputs. scratch_bytes: what a batch of so many needs.
    """

    DataType = DataType
    __version__ = "1.2.3"

    class ILogger:
        class Severity(IntEnum):
            ERROR = 1
            WARNING = 2

    class ExecutionContextAllocationStrategy(Enum):
        STATIC = 0
        USER_MANAGED = 2

    class ComputeCapability(Enum):
        NONE = 0
        SM86 = 86
        SM89 = 89

    def __init__(self, cuda: FakeCuda, answer: Callable[[NDArray[np.float32]], Outputs] = mean_of) -> None:
        self.cuda, self.answer = cuda, answer
        self.complaints: list[str] = []
        self.load_complaint = ""
        self.scratch_bytes: Callable[[int], int] = lambda count: count * SCRATCH_BYTES
        self.tensors = dict.fromkeys((INPUT_NAME, *OUTPUT_NAMES), DataType.FLOAT)

    def flavour(self, name: str = "tensorrt") -> Flavour:
        return Flavour(name, self.__version__, self)

    def Runtime(self, log: Any) -> "FakeRuntime":  # noqa: N802 - TensorRT's name
        return FakeRuntime(self, log)


class TooNewTensorRT(FakeTensorRT):
    """For a driver that is too old: the library hands pybind a null pointer."""

    def Runtime(self, log: Any) -> "FakeRuntime":  # noqa: N802 - TensorRT's name
        log.log(self.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")


class FakeRuntime:
    def __init__(self, module: FakeTensorRT, log: Any) -> None:
        self._module, self._log = module, log
        module.cuda.tensorrt.add(self)

    def deserialize_cuda_engine(self, plan: bytes) -> "FakeCudaEngine | None":
        if plan != PLAN or self._module.load_complaint:
            why = self._module.load_complaint or "magic tag does not match"
            self._log.log(FakeTensorRT.ILogger.Severity.ERROR, why)
            return None
        return FakeCudaEngine(self._module, self._log)


class FakeCudaEngine:
    def __init__(self, module: FakeTensorRT, log: Any) -> None:
        self._module, self._log = module, log
        self.num_io_tensors = len(module.tensors)
        module.cuda.tensorrt.add(self)

    def get_tensor_name(self, number: int) -> str:
        return list(self._module.tensors)[number]

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._module.tensors[name]

    def create_execution_context(self, strategy: Any) -> "FakeContext":
        assert strategy is FakeTensorRT.ExecutionContextAllocationStrategy.USER_MANAGED
        return FakeContext(self._module, self._log)


class FakeContext:
    def __init__(self, module: FakeTensorRT, log: Any) -> None:
        self._module, self._log = module, log
        self._count = 0
        self._sized_for = 0
        self._scratch: FakeMemory | None = None
        self._addresses: dict[str, int] = {}
        module.cuda.tensorrt.add(self)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._count = shape[0]
        return name == INPUT_NAME and shape[1:] == (1, INPUT_SIDE, INPUT_SIDE) and 1 <= shape[0] <= MAX_BATCH

    def update_device_memory_size_for_shapes(self) -> int:
        self._sized_for = self._count
        return self._module.scratch_bytes(self._count)

    def set_device_memory(self, address: int, size_bytes: int) -> None:
        assert size_bytes >= self._module.scratch_bytes(self._sized_for)
        self._scratch = self._module.cuda.at(address)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return name in self._module.tensors

    def execute_async_v3(self, stream: int) -> bool:
        if self._module.complaints:
            self._log.log(FakeTensorRT.ILogger.Severity.ERROR, self._module.complaints.pop(0))
            return False
        assert self._sized_for == self._count, "the scratch memory was divided for another batch"
        assert self._scratch is not None
        assert self._addresses.keys() == self._module.tensors.keys()
        cuda, count, answer = self._module.cuda, self._count, self._module.answer
        given, *answers = (cuda.at(self._addresses[name]) for name in (INPUT_NAME, *OUTPUT_NAMES))

        def compute() -> None:
            pixels = given.content[: count * INPUT_SIDE**2 * 4].view(np.float32)
            outputs = answer(pixels.reshape(count, 1, INPUT_SIDE, INPUT_SIDE).copy())
            for name, memory in zip(OUTPUT_NAMES, answers, strict=True):
                values = np.ascontiguousarray(getattr(outputs, name), np.float32).reshape(-1).view(np.uint8)
                memory.content[: len(values)] = values

        cuda.enqueue("compute", stream, compute, reads=[given], writes=[*answers, self._scratch])
        return True
