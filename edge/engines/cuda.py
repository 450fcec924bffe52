"""Device memory, pinned host memory and streams: all that the TensorRT runtime needs of CUDA, through pycuda.

Knows nothing of networks. tests/fake_cuda.py stands in where there is no GPU.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import BackendUnavailable, EngineError, OutOfMemory

_DRIVER_VERSION = Path("/sys/module/nvidia/version")


@dataclass(frozen=True)
class Gpu:
    """What a plan depends on. compute_capability: as sm_89. Name and driver are empty for a GPU that is not here."""

    name: str
    driver: str
    compute_capability: str


class Memory(Protocol):
    """Device memory."""

    address: int
    size_bytes: int

    def free(self) -> None: ...


class Pinned(Protocol):
    """Page-locked host memory: what a copy that overlaps with computing reads and writes."""

    array: NDArray[np.float32]

    def free(self) -> None: ...


class Stream(Protocol):
    """Copies and computations in order. handle: of CUDA, for TensorRT."""

    handle: int


class Cuda(Protocol):
    """One GPU. Every other call but `close` stands inside `with current()`, in whichever thread."""

    gpu: Gpu

    def current(self) -> contextlib.AbstractContextManager[None]: ...
    def free_bytes(self) -> int: ...

    # Both raise OutOfMemory.
    def allocate(self, size_bytes: int) -> Memory: ...
    def pin(self, shape: tuple[int, ...]) -> Pinned: ...

    def stream(self) -> Stream: ...
    def copy_in(self, target: Memory, source: NDArray[np.float32], stream: Stream) -> None: ...
    def copy_out(self, target: NDArray[np.float32], source: Memory, stream: Stream) -> None: ...
    def wait(self, stream: Stream, *, after: Stream) -> None:
        """What `stream` is given from now on begins when all that `after` has been given so far is done."""

    def synchronise(self, stream: Stream) -> None:
        """Return when all that the stream was given is done."""

    def close(self) -> None: ...


def open_cuda() -> Cuda:
    """The first GPU that CUDA shows. Raises BackendUnavailable with the cause; what to do the caller knows."""
    try:
        import pycuda.driver  # noqa: PLC0415 - only machines with a GPU have it
    except ImportError as missing:
        raise BackendUnavailable(f"no GPU can be used: pycuda does not load ({missing})") from None
    return PyCuda(pycuda.driver)


class _DeviceMemory:
    def __init__(self, cuda: "PyCuda", allocation: Any, size_bytes: int) -> None:
        self._cuda, self._allocation = cuda, allocation
        self.address, self.size_bytes = int(allocation), size_bytes

    def free(self) -> None:
        self._cuda.told(self._allocation.free)


class _PinnedMemory:
    def __init__(self, cuda: "PyCuda", array: NDArray[np.float32]) -> None:
        self.array = array
        self._cuda = cuda
        self._allocation: Any = array.base

    def free(self) -> None:
        del self.array  # whoever reads it now would read what is not there
        self._cuda.told(self._allocation.free)


class PyCuda:
    """The primary context, which TensorRT shares. driver: the module pycuda.driver."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        try:
            driver.init()
            device = driver.Device(0)
            major, minor = device.compute_capability()
            self.gpu = Gpu(device.name(), _driver_version(driver), f"sm_{major}{minor}")
            self._context = device.retain_primary_context()
        except driver.Error as fault:
            raise BackendUnavailable(f"no GPU can be used: {fault}") from None

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """CUDA's contexts belong to threads; the engine is opened in one and may answer in another."""
        self.told(self._context.push)
        try:
            yield
        except BaseException:
            with contextlib.suppress(EngineError):  # some faults of CUDA stay, and the first of them tells why
                self.told(self._driver.Context.pop)
            raise
        self.told(self._driver.Context.pop)

    def free_bytes(self) -> int:
        free, _ = self.told(self._driver.mem_get_info)
        return int(free)

    def allocate(self, size_bytes: int) -> Memory:
        return _DeviceMemory(self, self.told(self._driver.mem_alloc, size_bytes), size_bytes)

    def pin(self, shape: tuple[int, ...]) -> Pinned:
        return _PinnedMemory(self, self.told(self._driver.pagelocked_empty, shape, np.float32))

    def stream(self) -> Stream:
        return self.told(self._driver.Stream)

    def copy_in(self, target: Memory, source: NDArray[np.float32], stream: Stream) -> None:
        self.told(self._driver.memcpy_htod_async, target.address, source, stream)

    def copy_out(self, target: NDArray[np.float32], source: Memory, stream: Stream) -> None:
        self.told(self._driver.memcpy_dtoh_async, target, source.address, stream)

    def wait(self, stream: Any, *, after: Any) -> None:
        event = self.told(self._driver.Event, self._driver.event_flags.DISABLE_TIMING)
        self.told(event.record, after)
        self.told(stream.wait_for_event, event)

    def synchronise(self, stream: Any) -> None:
        self.told(stream.synchronize)

    def close(self) -> None:
        # Detaching what is current works in every thread, and takes it off pycuda's stack: there is nothing to pop.
        self.told(self._context.push)
        self.told(self._context.detach)

    def told(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call of pycuda, whose faults are told in our words. Raises OutOfMemory, EngineError."""
        try:
            return call(*arguments)
        except self._driver.MemoryError as fault:
            raise OutOfMemory(f"the GPU has too little free memory ({fault}); stop what else uses it") from None
        except self._driver.Error as fault:
            raise EngineError(f"CUDA failed ({fault}); check: nvidia-smi. Then run: edge-cxr doctor") from None


def _driver_version(driver: Any) -> str:
    """As nvidia-smi shows it; where the kernel does not tell, the newest CUDA that the driver runs."""
    try:
        return _DRIVER_VERSION.read_text(encoding="ascii").strip()
    except OSError:
        version = driver.get_driver_version()
        return f"cuda {version // 1000}.{version % 1000 // 10}"
