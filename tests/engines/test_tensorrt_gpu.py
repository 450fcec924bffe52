"""The TensorRT engine on a fake GPU that knows what may go wrong: order of copies, lifetimes, memory that runs out."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_cuda import PLAN, SCRATCH_BYTES, DataType, FakeCuda, FakeTensorRT, TooNewTensorRT
from tiny_bundle import write_tiny_bundle

from edge.bundle import Bundle, read_bundle
from edge.engines.tensorrt_gpu import TensorRTEngine
from edge.errors import EngineError, OutOfMemory

RADIOGRAPH_BYTES = 1024 * 1024 * 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


def open_on(cuda: FakeCuda, bundle: Bundle, module: FakeTensorRT | None = None, plan: bytes = PLAN) -> TensorRTEngine:
    module = module or FakeTensorRT(cuda)
    return TensorRTEngine(bundle, "fp32", plan, flavour=module.flavour(), cuda=cuda)


@pytest.fixture
def engine(cuda: FakeCuda, bundle: Bundle) -> Iterator[TensorRTEngine]:
    opened = open_on(cuda, bundle)
    yield opened
    opened.close()


def shades(count: int) -> np.ndarray:
    """Radiographs of one grey each, all different: the score tells which one was answered."""
    greys = np.linspace(0.1, 0.8, 8, dtype=np.float32)[:count]
    return np.ascontiguousarray(np.broadcast_to(greys[:, None, None, None], (count, 1, 1024, 1024)))


@pytest.mark.parametrize("count", range(1, 9))
def test_every_radiograph_gets_its_own_answer(engine: TensorRTEngine, count: int) -> None:
    for batch in (shades(count), 1 - shades(count)):
        outputs = engine.infer(batch)
        np.testing.assert_allclose(outputs.score, batch[:, 0, 0, 0], rtol=1e-4)
        np.testing.assert_allclose(outputs.embedding[:, 7], batch[:, 0, 0, 0], rtol=1e-4)


def test_the_second_half_is_copied_in_while_the_first_is_computed(engine: TensorRTEngine, cuda: FakeCuda) -> None:
    engine.infer(shades(8))
    into = [one for one in cuda.operations if one.name == "copy in"]
    computed = [one for one in cuda.operations if one.name == "compute"]
    out = [one for one in cuda.operations if one.name == "copy out"]
    assert (len(into), len(computed), len(out)) == (2, 2, 10)
    assert computed[0].number not in into[1].before
    assert computed[1].number not in out[0].before
    assert {into[1].number, computed[0].number} <= computed[1].before


def test_buffers_are_allocated_once(engine: TensorRTEngine, cuda: FakeCuda) -> None:
    engine.infer(shades(8))
    allocations = cuda.allocations
    for count in (8, 1, 5, 8):
        engine.infer(shades(count))
    assert cuda.allocations == allocations


def test_one_radiograph_takes_scratch_memory_for_one(engine: TensorRTEngine, cuda: FakeCuda) -> None:
    opened_bytes = cuda.used_bytes
    engine.infer(shades(1))
    assert cuda.used_bytes - opened_bytes == SCRATCH_BYTES
    engine.infer(shades(8))
    assert cuda.used_bytes - opened_bytes == 4 * SCRATCH_BYTES  # two lanes of four share one


@pytest.mark.parametrize(("fits", "lanes_of"), [(8, 4), (7, 2), (3, 1), (2, 1)])
def test_a_batch_that_does_not_fit_is_halved(bundle: Bundle, fits: int, lanes_of: int) -> None:
    """Room for buffers of so many radiographs, device and pinned, and the scratch memory that goes with them."""
    cuda = FakeCuda(most_bytes=int(fits * 2.2 * RADIOGRAPH_BYTES) + lanes_of * SCRATCH_BYTES)
    engine = open_on(cuda, bundle)
    np.testing.assert_allclose(engine.infer(shades(8)).score, shades(8)[:, 0, 0, 0], rtol=1e-4)
    assert sum(one.name == "compute" for one in cuda.operations) == 8 // lanes_of
    engine.close()


def test_scratch_memory_that_does_not_fit_halves_the_batch_too(bundle: Bundle) -> None:
    cuda = FakeCuda()
    engine = open_on(cuda, bundle)
    cuda.most_bytes = cuda.used_bytes + 3 * SCRATCH_BYTES
    np.testing.assert_allclose(engine.infer(shades(8)).score, shades(8)[:, 0, 0, 0], rtol=1e-4)
    assert sum(one.name == "compute" for one in cuda.operations) == 4
    engine.close()


def test_scratch_memory_that_grows_for_a_smaller_rest_is_not_freed_in_use(cuda: FakeCuda, bundle: Bundle) -> None:
    """TensorRT may choose for one radiograph what needs more memory than for four."""
    module = FakeTensorRT(cuda)
    module.scratch_bytes = lambda count: SCRATCH_BYTES * (9 - count)
    engine = open_on(cuda, bundle, module)
    np.testing.assert_allclose(engine.infer(shades(5)).score, shades(5)[:, 0, 0, 0], rtol=1e-4)
    engine.close()


def test_memory_that_runs_out_within_tensorrt_halves_the_batch(cuda: FakeCuda, bundle: Bundle) -> None:
    module = FakeTensorRT(cuda)
    engine = open_on(cuda, bundle, module)
    engine.infer(shades(8))
    module.complaints = ["CUDA error: out of memory"]
    np.testing.assert_allclose(engine.infer(shades(8)).score, shades(8)[:, 0, 0, 0], rtol=1e-4)
    assert sum(one.name == "compute" for one in cuda.operations) == 2 + 4
    engine.close()


def test_too_little_memory_for_one_radiograph_is_an_engine_fault(bundle: Bundle) -> None:
    cuda = FakeCuda(most_bytes=3 * RADIOGRAPH_BYTES)
    with pytest.raises(EngineError, match=r"not even one radiograph fits: .* bytes are free"):
        open_on(cuda, bundle)
    assert cuda.closed  # and so all is freed


def test_memory_that_others_took_meanwhile_is_an_engine_fault_and_closing_frees_all(bundle: Bundle) -> None:
    cuda = FakeCuda()
    engine = open_on(cuda, bundle)
    whole, cuda.most_bytes = cuda.most_bytes, 0
    for _ in range(2):
        with pytest.raises(EngineError, match="not even one radiograph fits"):
            engine.infer(shades(1))
    cuda.most_bytes = whole
    np.testing.assert_allclose(engine.infer(shades(1)).score, shades(1)[:, 0, 0, 0], rtol=1e-4)
    engine.close()
    assert cuda.closed


def test_another_fault_is_not_tried_again(cuda: FakeCuda, bundle: Bundle) -> None:
    module = FakeTensorRT(cuda)
    engine = open_on(cuda, bundle, module)
    module.complaints = ["an illegal memory access was encountered"]
    with pytest.raises(EngineError, match=r"TensorRT failed \(an illegal memory access .*edge-cxr doctor"):
        engine.infer(shades(1))
    engine.close()


def test_it_answers_in_another_thread_than_it_was_opened_in(engine: TensorRTEngine) -> None:
    scores: list[float] = []
    thread = threading.Thread(target=lambda: scores.extend(engine.infer(shades(2)).score))
    thread.start()
    thread.join()
    np.testing.assert_allclose(scores, shades(2)[:, 0, 0, 0], rtol=1e-4)


def test_closing_twice_is_harmless_and_nothing_is_answered_afterwards(cuda: FakeCuda, bundle: Bundle) -> None:
    engine = open_on(cuda, bundle)
    outputs = engine.infer(shades(1))
    engine.close()
    engine.close()
    assert cuda.closed
    assert outputs.score[0] == pytest.approx(0.1, rel=1e-4)  # the caller's own
    with pytest.raises(EngineError, match="closed"):
        engine.infer(shades(1))


def test_identity_names_flavour_and_version(engine: TensorRTEngine) -> None:
    assert (engine.identity.backend, engine.identity.version) == ("tensorrt", "tensorrt 1.2.3")


def test_a_plan_that_does_not_load_says_why(cuda: FakeCuda, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"cannot load the plan \(magic tag does not match\).*edge-cxr build"):
        open_on(cuda, bundle, plan=b"another plan")
    assert cuda.closed


def test_no_memory_for_the_plan_is_no_reason_to_build_it_again(cuda: FakeCuda, bundle: Bundle) -> None:
    module = FakeTensorRT(cuda)
    module.load_complaint = "CUDA error: out of memory"
    with pytest.raises(OutOfMemory, match=r"cannot load the plan \(CUDA error: out of memory\); stop what else"):
        open_on(cuda, bundle, module)
    assert cuda.closed


def test_a_driver_that_is_too_old_is_an_engine_fault(cuda: FakeCuda, bundle: Bundle) -> None:
    told = r"tensorrt 1\.2\.3 does not start here \(CUDA initialization failure .*newer NVIDIA driver.*nvidia-smi"
    with pytest.raises(EngineError, match=told):
        open_on(cuda, bundle, TooNewTensorRT(cuda))
    assert cuda.closed


class Broken(FakeCuda):
    """From some moment on every synchronise fails, as after an illegal address."""

    broken = False

    def synchronise(self, stream: Any) -> None:
        if self.broken:
            raise EngineError("CUDA failed (illegal address)")
        super().synchronise(stream)

    def close(self) -> None:
        self.closed = True
        assert not self.tensorrt


def test_a_fault_in_closing_hides_no_earlier_one(bundle: Bundle) -> None:
    cuda = Broken()
    module = FakeTensorRT(cuda)
    module.tensors.pop("score")
    cuda.broken = True
    with pytest.raises(EngineError, match="the plan's inputs and outputs are"):
        open_on(cuda, bundle, module)
    assert cuda.closed


def test_after_a_fault_that_stays_closing_frees_what_it_can(bundle: Bundle) -> None:
    cuda = Broken()
    engine = open_on(cuda, bundle)
    cuda.broken = True
    with pytest.raises(EngineError, match="illegal address"):
        engine.infer(shades(1))
    engine.close()
    assert cuda.closed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("score"), "inputs and outputs are radiograph, member_scores"),
        (lambda tensors: tensors.update(extra=DataType.FLOAT), "evidence_map, extra"),
        (lambda tensors: tensors.update(embedding=DataType.HALF), "embedding is DataType.HALF, not float"),
    ],
    ids=["one missing", "one more", "half"],
)
def test_a_plan_of_another_network_is_refused(cuda: FakeCuda, bundle: Bundle, change: Any, told: str) -> None:
    module = FakeTensorRT(cuda)
    change(module.tensors)
    with pytest.raises(EngineError, match=told):
        open_on(cuda, bundle, module)
    assert cuda.closed


class NeverWaiting(FakeCuda):
    def wait(self, stream: object, *, after: object) -> None:
        pass


class NeverSynchronised(FakeCuda):
    def synchronise(self, stream: object) -> None:
        pass


def test_the_fake_notices_a_wait_that_is_left_out(bundle: Bundle) -> None:
    engine = open_on(NeverWaiting(), bundle)
    with pytest.raises(AssertionError, match="race: compute"):
        engine.infer(shades(1))


def test_the_fake_notices_an_answer_that_is_read_too_soon(bundle: Bundle) -> None:
    engine = open_on(NeverSynchronised(), bundle)
    with pytest.raises(EngineError, match="score is not finite"):
        engine.infer(shades(1))


def test_the_fake_notices_memory_that_is_freed_in_use(bundle: Bundle) -> None:
    engine = open_on(NeverSynchronised(), bundle)
    with pytest.raises(EngineError):
        engine.infer(shades(1))
    with pytest.raises(AssertionError) as caught:
        engine.close()
    assert str(caught.value.__context__) == "freed while in use"
