"""A precision that failed its accuracy gate answers for nobody, and the refusal says why."""

from dataclasses import replace
from typing import Any

import pytest

from edge.bundle import Bundle, open_bundle
from edge.engines.opening import choose_precision
from edge.errors import BundleError, UsageError

ALL = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def packaged() -> Bundle:
    return open_bundle("phantom")


def with_outcomes(packaged: Bundle, held: tuple[str, ...] = ALL, **passed: bool) -> Bundle:
    accuracy: dict[str, dict[str, Any]] = {
        precision: {"passed": good, "failures": [] if good else [f"AUC fell by 0.02 in {precision}"]}
        for precision, good in passed.items()
    }
    return replace(packaged, manifest=replace(packaged.manifest, precisions=held, accuracy=accuracy))


@pytest.mark.parametrize(
    ("backend", "outcomes", "chosen"),
    [
        ("openvino", {}, "int8"),
        ("openvino", {"int8": True}, "int8"),
        ("openvino", {"int8": False}, "fp32"),
        ("openvino", {"int8": False, "fp32": False}, "fp16"),
        ("tensorrt", {}, "int8"),
        ("tensorrt", {"int8": False}, "fp16"),
        ("tensorrt", {"int8": False, "fp16": False}, "fp32"),
    ],
)
def test_auto_passes_over_what_failed(packaged: Bundle, backend: str, outcomes: dict[str, bool], chosen: str) -> None:
    assert choose_precision(with_outcomes(packaged, **outcomes), "auto", backend) == chosen


def test_a_failed_precision_is_refused_with_its_failures_and_what_passed(packaged: Bundle) -> None:
    bundle = with_outcomes(packaged, int8=False, fp16=True)
    message = r"int8 failed the accuracy gate of bundle phantom \(AUC fell by 0\.02 in int8\); choose fp32 or fp16"
    with pytest.raises(UsageError, match=message):
        choose_precision(bundle, "int8")
    assert choose_precision(bundle, "fp16") == "fp16"


@pytest.mark.parametrize("asked", ["auto", "int8"])
def test_when_all_failed_the_bundle_is_at_fault(packaged: Bundle, asked: str) -> None:
    bundle = with_outcomes(packaged, ("int8",), int8=False)
    with pytest.raises(BundleError, match=r"in no precision \(int8: AUC fell by 0\.02 in int8\); use another bundle"):
        choose_precision(bundle, asked)


def test_a_precision_that_is_not_held_is_named(packaged: Bundle) -> None:
    bundle = with_outcomes(packaged, ("fp32", "int8"))
    with pytest.raises(UsageError, match="bundle phantom holds fp32, int8, not fp16; choose one of them"):
        choose_precision(bundle, "fp16")
