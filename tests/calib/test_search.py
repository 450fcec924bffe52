"""The search for the fewest layers in floating point, and what it goes by: each layer's sensitivity."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from calib.answers import ask_graph
from calib.gate import Outcome
from calib.quantiser import Quantiser
from calib.search import search
from calib.sensitivity import Sensitivity, embedding_error, operations_of, plot, sensitivities, worst_first
from export.parity import Parity

WORST_FIRST = tuple(f"layer{number}" for number in range(20))
HOLDS = Outcome(True, (), 0.5, 1.0, 1.0, 1.0, 1.0, 0, 0.0, True, 1.0, Parity(300, 0, 0, 0, 1, 1, 1, 1))

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's exporter and onnxruntime
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]


@pytest.mark.parametrize("needed", [*range(len(WORST_FIRST))])
def test_the_fewest_that_do_are_found(needed: int) -> None:
    asked: list[int] = []

    def judged(floating: Sequence[str]) -> Outcome:
        assert tuple(floating) == WORST_FIRST[: len(floating)]
        asked.append(len(floating))
        passed = len(floating) >= needed
        return replace(HOLDS, passed=passed, failures=() if passed else ("no",))

    whole = replace(HOLDS, passed=needed == 0, failures=() if needed == 0 else ("no",))
    choice = search(WORST_FIRST, judged, whole, say=lambda told: None)
    assert choice.floating == WORST_FIRST[:needed] and choice.outcome.passed
    assert 0 not in asked and len(asked) == len(set(asked)) <= 6


def test_where_nothing_helps_the_last_one_asked_is_told() -> None:
    told: list[str] = []
    fails = replace(HOLDS, passed=False, failures=("AUC falls",))
    choice = search(WORST_FIRST, lambda floating: fails, fails, say=told.append)
    assert not choice.outcome.passed and choice.floating == WORST_FIRST[:-1]  # one is left in int8
    assert told == ["19 of 20 layers in floating point: AUC falls"]


def test_each_layer_alone_disturbs_the_embedding(quantiser: Quantiser, kept: list[Path], tmp_path: Path) -> None:
    few = replace(quantiser, layers=quantiser.layers[-3:])
    found = sensitivities(few, kept[:2])
    assert [each.layer for each in found] == list(few.layers)
    quantiser.write(tmp_path / "alone.onnx", [few.layers[1]])
    exact, asked = (ask_graph(path, kept[:2]) for path in (quantiser.prepared, tmp_path / "alone.onnx"))
    assert found[1].embedding_error == pytest.approx(embedding_error(exact, asked)) and found[1].embedding_error > 0


def test_operations_are_those_of_the_convolutions(quantiser: Quantiser, kept: list[Path]) -> None:
    """The lung network's last, 3 x 3 from 8 channels to one at 256 pixels, worked out by hand."""
    operations = operations_of(quantiser.prepared, kept[0])
    assert operations["lungs.unet.segmentation_head.0"] == 2 * 256 * 256 * 9 * 8
    assert {*quantiser.layers} <= operations.keys()


def test_worst_first_and_the_plot() -> None:
    found = [Sensitivity("a", 0.1, 0.0), Sensitivity("b", 0.3, 0.0), Sensitivity("c", 0.2, 0.0)]
    assert worst_first(found) == ("b", "c", "a")
    saves = [replace(found[0], operations=1), replace(found[1], operations=100), replace(found[2], operations=2)]
    assert worst_first(saves) == ("c", "a", "b")  # by 0.02, 0.01 and 0.0009
    assert plot(found, ["b"]).startswith(b"\x89PNG") and plot(found, ["b"]) != plot(found, [])
