"""The torch-tensorrt route: what it asks of the compiler is what the box's runtime needs, and its faults are told."""

import inspect

import pytest
import torch
from fake_cuda import PLAN
from fake_torch_tensorrt import FakeCompiler, FakeDynamo, FakeInput, OldDynamo

from edge.engines.base import INPUT_NAME, OUTPUT_NAMES
from edge.errors import BackendUnavailable, EngineError, UsageError
from export.fused import Fused
from export.half import in_half
from export.torch_tensorrt import compile_plan, runtime_flavour

GPU = torch.cuda.is_available()
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's exporter and timm
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def types_of_convolutions(program: torch.export.ExportedProgram) -> set[torch.dtype]:
    called = [node for node in program.graph.nodes if "conv2d" in str(node.target)]
    assert called
    return {node.meta["val"].dtype for node in called}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_names_shapes_and_types_are_those_of_the_other_route(fused: Fused, precision: str) -> None:
    compiler, told = FakeCompiler(), []
    plan = compile_plan(fused, precision=precision, progress=told.append, compiler=compiler)
    assert plan == PLAN
    assert told == [0.0, 0.1, 1.0]
    asked = compiler.dynamo.asked
    shapes = [(count, 1, 1024, 1024) for count in (1, 1, 8)]
    assert asked["inputs"] == (FakeInput(*shapes, torch.float32, INPUT_NAME),)
    assert asked["named"] == (INPUT_NAME,)
    assert asked["answers"] == OUTPUT_NAMES
    assert not asked["tf32"]
    program = compiler.dynamo.program
    assert types_of_convolutions(program) == {torch.float16 if precision == "fp16" else torch.float32}
    linear = [node for node in program.graph.nodes if "linear" in str(node.target) or "softmax" in str(node.target)]
    assert {node.meta["val"].dtype for node in linear} == {torch.float32}
    assert {parameter.dtype for parameter in fused.parameters()} == {torch.float32}  # the caller's own is left alone


def test_the_program_takes_every_batch_and_answers_as_the_module(fused: Fused) -> None:
    compiler = FakeCompiler()
    compile_plan(fused, precision="fp32", compiler=compiler)
    device = "cuda" if GPU else "cpu"
    radiographs = torch.rand(3, 1, 1024, 1024)
    with torch.inference_mode():
        expected = fused.cpu()(radiographs)
        answered = compiler.dynamo.program.module()(radiographs.to(device))
    for got, wanted in zip(answered, expected, strict=True):
        torch.testing.assert_close(got.cpu(), wanted, atol=1e-3, rtol=1e-3)


def test_halves_answer_nearly_as_the_whole(fused: Fused) -> None:
    radiographs = torch.rand(1, 1, 1024, 1024)
    with torch.inference_mode():
        expected, answered = fused.cpu()(radiographs), in_half(fused.cpu())(radiographs)
    differences = [float((got - wanted).abs().max()) for got, wanted in zip(answered, expected, strict=True)]
    assert {output.dtype for output in answered} == {torch.float32}
    assert max(differences[:2]) < 0.01
    assert max(differences) > 0  # or nothing was computed in halves


def test_int8_is_the_other_routes(fused: Fused) -> None:
    with pytest.raises(UsageError, match=r"fp32 and fp16 plans, not int8.*edge-cxr build --precision int8"):
        compile_plan(fused, precision="int8", compiler=FakeCompiler())


def test_a_version_that_cannot_name_outputs_is_refused(fused: Fused) -> None:
    compiler = FakeCompiler(OldDynamo(), __version__="2.8.0")
    with pytest.raises(BackendUnavailable, match=r"2\.8\.0 cannot name .*pip install 'torch-tensorrt>=2\.14'"):
        compile_plan(fused, precision="fp32", compiler=compiler)


def test_what_the_compiler_raises_is_told_in_one_line(fused: Fused) -> None:
    compiler = FakeCompiler(FakeDynamo(RuntimeError("no converter for aten::odd\nand a graph of 1000 lines")))
    with pytest.raises(
        EngineError, match=r"in fp32 \(RuntimeError: no converter for aten::odd\)\. Run: edge-cxr build"
    ):
        compile_plan(fused, precision="fp32", compiler=compiler)


@pytest.mark.skipif(GPU, reason="there is a GPU")
def test_without_a_gpu_it_says_so(fused: Fused) -> None:
    with pytest.raises(BackendUnavailable, match="needs an NVIDIA GPU"):
        compile_plan(fused, precision="fp16")


@pytest.mark.gpu
@pytest.mark.skipif(not GPU, reason="needs an NVIDIA GPU")
@pytest.mark.filterwarnings("ignore")
def test_a_real_plan_has_the_names_of_the_other_route(fused: Fused) -> None:
    compiler = pytest.importorskip("torch_tensorrt")
    assert "output_binding_names" in inspect.signature(
        compiler.dynamo.convert_exported_program_to_serialized_trt_engine
    ).parameters  # fmt: skip
    from edge.engines.flavours import installed_flavour  # noqa: PLC0415

    plan = compile_plan(fused.cpu(), precision="fp16")
    module = installed_flavour(runtime_flavour()).module
    engine = module.Runtime(module.Logger()).deserialize_cuda_engine(plan)
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    assert names == [INPUT_NAME, *OUTPUT_NAMES]
    assert {engine.get_tensor_dtype(name) for name in names} == {module.DataType.FLOAT}
    assert engine.get_tensor_profile_shape(INPUT_NAME, 0)[2][0] == 8
