"""The known-answer test on real engines: what is right passes, and each fault is found."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine
from faulty import (
    DyingDecoder,
    FaultyDecoder,
    FaultyEngine,
    halve_scales,
    ignore_monochrome1,
    no_number,
    of_graph,
    perturb,
    swapped,
    with_digest,
    zero_mask_channel,
)
from onnx import ModelProto
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.bundle import Bundle, open_bundle, read_bundle
from edge.engines import Engine, Outputs, open_engine
from edge.errors import Bomb, DecoderDied, EngineError, OutOfMemory, RadiographError, Unreadable
from edge.imaging.decoder import Decoder
from edge.known_answer import KnownAnswerFailed, check_labels, known_answers, lent_answers

PHANTOM = open_bundle("phantom")


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(PHANTOM.manifest.preprocessing, site_key=bytes(32)) as decoder:
        yield decoder


@pytest.fixture(scope="module", params=PHANTOM.manifest.precisions)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with contextlib.closing(open_engine(PHANTOM, precision=request.param)) as engine:
        yield engine


def test_right_answers_are_given_one_at_a_time(engine: Engine, decoder: Decoder) -> None:
    lent: list[str] = []

    @contextlib.contextmanager
    def lend() -> Iterator[Engine]:
        lent.append(engine.identity.precision)
        yield engine

    assert [answer.name for answer in lent_answers(PHANTOM, lend, decoder)] == [
        "golden/a.dcm",
        "golden/b.dcm",
        "golden/c.dcm",
    ]
    assert len(lent) == 3  # between two of them a radiograph may be scored


@pytest.mark.parametrize(
    ("precision", "change"),
    [
        ("fp32", perturb),
        ("int8", perturb),
        ("fp32", zero_mask_channel),
        ("int8", zero_mask_channel),
        ("int8", halve_scales),
    ],
)
def test_a_network_that_was_changed_is_found(
    precision: str, change: Callable[[ModelProto], None], decoder: Decoder
) -> None:
    with contextlib.closing(of_graph(PHANTOM, precision, change)) as wrong:
        assert_found(wrong, decoder, r"golden/\w\.dcm gives (score|lung_fraction) 0\.\d+ instead of 0\.\d+")


def test_of_the_research_bundle_halved_scales_are_found_and_a_lost_lung_channel_is_not() -> None:
    """docs/trust.md says so, and why: its network hardly uses the channel."""
    research = open_bundle("research")
    with Decoder(research.manifest.preprocessing, site_key=bytes(32)) as stretching:
        with contextlib.closing(of_graph(research, "int8", halve_scales)) as wrong:
            assert_found(wrong, stretching, r"golden/\w\.dcm gives (score|lung_fraction)", research)
        with contextlib.closing(of_graph(research, "int8", zero_mask_channel)) as unseeing:
            answers = known_answers(research, unseeing, stretching)
    assert {abs(answer.score - answer.expected["score"]) < 0.01 for answer in answers} == {True}


@pytest.mark.parametrize(
    ("change", "told"), [(swapped, r"golden/a\.dcm gives score 0\.7"), (no_number, r"golden/a\.dcm gets no answer")]
)
def test_another_answer_is_found(
    change: Callable[[Outputs], Outputs], told: str, engine: Engine, decoder: Decoder
) -> None:
    assert_found(FaultyEngine(engine, change), decoder, told)


def test_a_monochrome1_file_that_is_not_inverted_is_found(engine: Engine, decoder: Decoder) -> None:
    assert_found(engine, FaultyDecoder(decoder, before=ignore_monochrome1), r"golden/b\.dcm gives")


def test_another_preprocessing_is_found_by_its_digest(engine: Engine, decoder: Decoder) -> None:
    other = replace(PHANTOM.manifest.preprocessing, high_percentile=99.4)  # no answer moves by more than its tolerance
    with Decoder(other, site_key=bytes(32)) as changed:
        assert_found(engine, changed, r"golden/a\.dcm gets no answer: the input was preprocessed as")
        claims = with_digest(PHANTOM.manifest.preprocessing_digest)
        assert known_answers(PHANTOM, engine, FaultyDecoder(changed, after=claims))


def test_another_preprocessing_that_claims_to_be_the_bundles_is_found_by_its_answers(
    engine: Engine, decoder: Decoder
) -> None:
    """As when a library does something else under the same name."""
    other = replace(PHANTOM.manifest.preprocessing, clahe_clip_limit=4.0)
    with Decoder(other, site_key=bytes(32)) as changed:
        claims = with_digest(PHANTOM.manifest.preprocessing_digest)
        assert_found(engine, FaultyDecoder(changed, after=claims), r"golden/\w\.dcm gives")


@pytest.mark.parametrize("fault", [DecoderDied("it died"), Bomb("it took too long")])
def test_a_decoder_that_dies_once_is_no_wrong_answer(fault: RadiographError, engine: Engine, decoder: Decoder) -> None:
    assert known_answers(PHANTOM, engine, DyingDecoder(decoder, fault, 1))
    assert_found(engine, DyingDecoder(decoder, fault, 2), rf"golden/a\.dcm does not decode \({fault}\)")


def test_a_golden_case_that_is_refused_is_not_tried_again(engine: Engine, decoder: Decoder) -> None:
    assert_found(engine, DyingDecoder(decoder, Unreadable("no DICOM"), 1), r"golden/a\.dcm does not decode")


def test_a_gpu_without_memory_has_not_answered_wrongly(engine: Engine, decoder: Decoder) -> None:
    def full(outputs: Outputs) -> Outputs:
        raise OutOfMemory("no memory is left")

    with pytest.raises(OutOfMemory):
        known_answers(PHANTOM, FaultyEngine(engine, full), decoder)


def test_a_bundle_without_the_precision_gives_no_proof(engine: Engine, decoder: Decoder) -> None:
    golden = json.loads(PHANTOM.files["golden/expected.json"])
    for case in golden["cases"]:
        del case["precisions"][engine.identity.precision]
    without = replace(PHANTOM, files={**PHANTOM.files, "golden/expected.json": json.dumps(golden).encode()})
    with pytest.raises(EngineError, match="holds no golden case"):
        known_answers(without, engine, decoder)


@pytest.mark.parametrize("name", ["phantom", "research"])
def test_labels_named_the_wrong_way_round_are_found(name: str, decoder: Decoder) -> None:
    bundle = open_bundle(name)
    check_labels(bundle)
    negative, positive = bundle.manifest.labels
    swapped_labels = replace(bundle, manifest=replace(bundle.manifest, labels=(positive, negative)))
    with pytest.raises(KnownAnswerFailed, match=r"labelled other score 0\.\d+ on average, .* the labels are swapped"):
        known_answers(swapped_labels, FakeEngine(), decoder)


def test_a_reference_that_cannot_tell_the_labels_apart_accuses_nobody(tmp_path: Path) -> None:
    """Seven of a label, or scores that differ by chance."""
    folder = write_tiny_bundle(tmp_path / "tiny")
    arrays = dict(np.load(folder / "reference.npz"))

    def with_cases(scores: list[float]) -> Bundle:
        cases = len(scores)
        np.savez(
            folder / "reference.npz",
            embeddings=np.zeros((cases, 128), np.float32),
            labels=np.array(["other", "covid"] * (cases // 2)),
            scores=np.array(scores, np.float32),
            case_ids=np.array([f"{number:016x}" for number in range(cases)]),
            origins=np.resize(arrays["origins"], cases),
        )
        write_manifest(folder)
        return read_bundle(folder)

    check_labels(with_cases([0.9, 0.1] * 7))
    check_labels(with_cases([0.5, 0.49, 0.3, 0.35, 0.7, 0.65, 0.2, 0.1] * 4))
    with pytest.raises(KnownAnswerFailed, match="the labels are swapped"):
        check_labels(with_cases([0.9, 0.1] * 8))


def assert_found(
    engine: Engine, decoder: Decoder | FaultyDecoder | DyingDecoder, told: str, bundle: Bundle = PHANTOM
) -> None:
    with pytest.raises(KnownAnswerFailed, match=f"known-answer test failed: {told}"):
        known_answers(bundle, engine, decoder)
