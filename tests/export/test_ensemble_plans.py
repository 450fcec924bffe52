"""The full ensemble, untrained: ResNet34, ResNet50, ResNet152, VGG16 and the U-Net at 1024 x 1024, as plans. Slow:

make engines
"""

from pathlib import Path

import onnx
import pytest

from benchmarks.subject import Subject, full_ensemble
from edge.engines.cuda import Gpu
from edge.engines.flavours import installed_flavour
from edge.engines.plans import Found, PlanStore, plan_key
from export.plan import build_plan, check, inspect, parse

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is built for other processors")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's exporter and timm
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]
SIDE = 1024
CONVOLUTIONS_IN = {"fp32": {"float32"}, "fp16": {"float16"}, "int8": {"float16", "float32"}}


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return full_ensemble(SIDE, tmp_path_factory.mktemp("ensemble"))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_plan_of_the_full_ensemble(ensemble: Subject, precision: str, tmp_path: Path) -> None:
    assert precision in ensemble.precisions, dict(ensemble.missing)[precision]
    graph = ensemble.graph(precision).read_bytes()
    kinds = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    flavour = installed_flavour("tensorrt-rtx")
    summary = inspect(parse(graph, flavour).network)
    check(summary, precision)
    assert dict(summary.layers)["convolution"] == kinds.count("Conv") > 36 + 53 + 155 + 13  # of the four, and the U-Net
    assert (summary.quantise, summary.dequantise) == (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear"))
    assert set(summary.convolutions) <= CONVOLUTIONS_IN[precision]
    assert summary.heads == ("float32",)
    plan = build_plan(graph, flavour, precision=precision, targets=["sm_89"])
    store = PlanStore(tmp_path, site_key=bytes(32))
    key = plan_key(graph, precision, flavour, Gpu("", "", "sm_89"))
    store.keep(key, plan)
    assert store.find(key) == Found(plan, built_here=True)
    print(f"{precision}: graph {len(graph) / 1e6:.0f} MB, plan {len(plan) / 1e6:.0f} MB")
