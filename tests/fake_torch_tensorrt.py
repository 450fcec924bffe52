"""torch-tensorrt without a GPU: its plan is the one that the fake GPU's runtime loads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from fake_cuda import PLAN


@dataclass
class FakeInput:
    min_shape: tuple[int, ...]
    opt_shape: tuple[int, ...]
    max_shape: tuple[int, ...]
    dtype: torch.dtype
    name: str


class FakeDynamo:
    """Keeps what it is asked to convert, and answers with `plan`; fault: what it raises instead."""

    def __init__(self, fault: Exception | None = None, *, plan: bytes = PLAN) -> None:
        self.fault, self.plan = fault, plan
        self.program: Any = None
        self.asked: dict[str, Any] = {}

    def convert_exported_program_to_serialized_trt_engine(
        self, exported_program: Any, *, arg_inputs: Any = None, arg_input_binding_names: Any = None,
        output_binding_names: Any = None, timing_cache_path: str = "", disable_tf32: bool = False, **others: Any,
    ) -> bytes:  # fmt: skip
        if self.fault is not None:
            raise self.fault
        assert not others
        self.program = exported_program
        self.asked = {
            "inputs": arg_inputs, "named": arg_input_binding_names, "answers": output_binding_names,
            "tf32": not disable_tf32,
        }  # fmt: skip
        return self.plan


class OldDynamo:
    """A version that ignores what it does not know, and would name the outputs output0, output1, ..."""

    def convert_exported_program_to_serialized_trt_engine(self, exported_program: Any, **others: Any) -> bytes:
        return b"a plan with other names"


@dataclass
class FakeCompiler:
    """The module."""

    dynamo: Any = field(default_factory=FakeDynamo)
    Input: Callable[..., FakeInput] = FakeInput
    __version__: str = "2.14.0"
    tensorrt_package_name: str = "tensorrt"
