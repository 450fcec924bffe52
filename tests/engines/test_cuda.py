"""pycuda behind its small layer: contexts per thread, errors in our words. pycuda.driver is hand-written here."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge.engines.cuda import PyCuda
from edge.errors import BackendUnavailable, EngineError, OutOfMemory


class Driver:
    """Stands where pycuda.driver stands; `calls` tells what was asked of it. failing: by name, what a call raises."""

    class Error(Exception): ...

    class LogicError(Error): ...

    class MemoryError(Error): ...

    event_flags = SimpleNamespace(DISABLE_TIMING=2)

    def __init__(self, **failing: Exception) -> None:
        self.calls: list[str] = []
        self._failing = failing
        self._streams = 0
        self.Context = SimpleNamespace(pop=lambda: self._call("pop"))

    def _call(self, name: str, answer: Any = None) -> Any:
        self.calls.append(name)
        if name in self._failing:
            raise self._failing[name]
        return answer

    def init(self) -> None:
        self._call("init")

    def Device(self, number: int) -> Any:  # noqa: N802 - pycuda's name
        context = SimpleNamespace(push=lambda: self._call("push"), detach=lambda: self._call("detach"))
        return SimpleNamespace(
            name=lambda: "Fake GPU",
            compute_capability=lambda: (8, 9),
            retain_primary_context=lambda: self._call("retain", context),
        )

    def get_driver_version(self) -> int:
        return 13020

    def mem_alloc(self, size_bytes: int) -> Any:
        return self._call("mem_alloc", Allocation(lambda: self._call("free")))

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: type) -> Any:
        memory = Host(np.zeros(shape, dtype), lambda: self._call("free host memory"))
        return self._call("pagelocked_empty", np.asarray(memory))

    def memcpy_htod_async(self, target: int, source: np.ndarray, stream: Any) -> None:
        self._call(f"copy {source.nbytes} bytes to {target} in stream {stream.handle}")

    def memcpy_dtoh_async(self, target: np.ndarray, source: int, stream: Any) -> None:
        self._call(f"copy {target.nbytes} bytes from {source} in stream {stream.handle}")

    def Event(self, flags: int) -> Any:  # noqa: N802 - pycuda's name
        return SimpleNamespace(record=lambda stream: self._call(f"record after stream {stream.handle}"))

    def Stream(self) -> Any:  # noqa: N802 - pycuda's name
        self._streams += 1
        return SimpleNamespace(
            handle=(handle := self._streams),
            synchronize=lambda: self._call("synchronize"),
            wait_for_event=lambda event: self._call(f"stream {handle} waits"),
        )


class Host:
    """Memory that an array stands on, as pycuda's page-locked memory does: the array's base."""

    def __init__(self, memory: np.ndarray, free: Callable[[], None]) -> None:
        self.__array_interface__ = memory.__array_interface__
        self._memory, self.free = memory, free


class Allocation:
    def __init__(self, free: Callable[[], None]) -> None:
        self.free = free

    def __int__(self) -> int:
        return 4096


def test_the_gpu_is_named_with_all_that_a_plan_depends_on() -> None:
    gpu = PyCuda(Driver()).gpu
    assert (gpu.name, gpu.compute_capability) == ("Fake GPU", "sm_89")
    kernel_module = Path("/sys/module/nvidia/version")
    assert gpu.driver == (kernel_module.read_text().strip() if kernel_module.exists() else "cuda 13.2")


def test_a_context_is_taken_off_again_whatever_happens() -> None:
    driver = Driver()
    cuda = PyCuda(driver)
    with pytest.raises(ZeroDivisionError), cuda.current():
        raise ZeroDivisionError
    assert driver.calls == ["init", "retain", "push", "pop"]


def test_closing_detaches_what_is_current_and_pops_nothing() -> None:
    """pycuda takes a detached context off its stack by itself; one more pop raises."""
    driver = Driver()
    PyCuda(driver).close()
    assert driver.calls == ["init", "retain", "push", "detach"]


def test_memory_is_addressed_and_freed() -> None:
    driver = Driver()
    cuda = PyCuda(driver)
    with cuda.current():
        memory = cuda.allocate(100)
        assert (memory.address, memory.size_bytes) == (4096, 100)
        stream = cuda.stream()
        cuda.copy_in(memory, np.zeros(4, np.float32), stream)
        cuda.copy_out(np.zeros(3, np.float32), memory, stream)
        memory.free()
    copies = ["copy 16 bytes to 4096 in stream 1", "copy 12 bytes from 4096 in stream 1"]
    assert driver.calls[-5:] == ["mem_alloc", *copies, "free", "pop"]


def test_a_stream_waits_for_what_the_other_was_given() -> None:
    driver = Driver()
    cuda = PyCuda(driver)
    copies, computing = cuda.stream(), cuda.stream()
    cuda.wait(computing, after=copies)
    assert driver.calls[-2:] == ["record after stream 1", "stream 2 waits"]


def test_pinned_memory_is_freed_through_the_array_that_stands_on_it() -> None:
    driver = Driver()
    cuda = PyCuda(driver)
    pinned = cuda.pin((2, 3))
    assert pinned.array.shape == (2, 3)
    pinned.free()
    assert driver.calls[-2:] == ["pagelocked_empty", "free host memory"]


def test_no_memory_is_an_error_of_its_own() -> None:
    driver = Driver(mem_alloc=Driver.MemoryError("cuMemAlloc failed: out of memory"))
    with pytest.raises(OutOfMemory, match=r"too little free memory \(cuMemAlloc failed"):
        PyCuda(driver).allocate(1)


def test_any_other_fault_of_cuda_says_what_to_do() -> None:
    driver = Driver(synchronize=Driver.LogicError("cuStreamSynchronize failed: illegal address"))
    cuda = PyCuda(driver)
    with pytest.raises(EngineError, match=r"CUDA failed \(cuStreamSynchronize .*nvidia-smi") as fault:
        cuda.synchronise(cuda.stream())
    assert not isinstance(fault.value, OutOfMemory)


@pytest.mark.parametrize("ask", [lambda cuda: cuda.allocate(1), lambda cuda: cuda.pin((1,))], ids=["device", "pinned"])
def test_a_fault_in_freeing_is_one_of_the_engine(ask: Callable[[PyCuda], Any]) -> None:
    fault = Driver.LogicError("cuMemFree failed: illegal address")
    memory = ask(PyCuda(Driver(**{"free": fault, "free host memory": fault})))
    with pytest.raises(EngineError, match=r"CUDA failed \(cuMemFree"):
        memory.free()


def test_of_a_fault_that_stays_the_first_one_is_told() -> None:
    """After an illegal address every call fails, taking the context off too."""
    first, then = Driver.LogicError("cuStreamSynchronize failed"), Driver.LogicError("cuCtxPopCurrent failed")
    cuda = PyCuda(Driver(synchronize=first, pop=then))
    with pytest.raises(EngineError, match="cuStreamSynchronize"), cuda.current():
        cuda.synchronise(cuda.stream())
    with pytest.raises(EngineError, match="cuCtxPopCurrent"), cuda.current():
        pass


def test_a_machine_without_a_gpu() -> None:
    with pytest.raises(BackendUnavailable, match="no GPU can be used: cuInit failed: no CUDA-capable device"):
        PyCuda(Driver(init=Driver.LogicError("cuInit failed: no CUDA-capable device")))
