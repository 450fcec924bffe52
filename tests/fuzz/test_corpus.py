"""The corpus: one file of everything that the box reads, always the same, and each read as it says."""

from collections.abc import Iterator

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from benchmarks.fuzz.canary import WORD, around_canary, holds_canary
from benchmarks.fuzz.corpus import corpus, corpus_digest
from benchmarks.fuzz.dicom_seeds import dicom_seeds
from benchmarks.fuzz.lane import DECODED, Lane
from benchmarks.fuzz.picture_seeds import picture_seeds
from benchmarks.fuzz.seed import Seed
from edge.imaging.pixel_data import NATIVE, PLUGINS

SEEDS = [seed for seed in corpus() if seed.settled]


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    with Lane() as opened:
        yield opened


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_each_is_read_as_it_says(lane: Lane, seed: Seed) -> None:
    answer = lane.ask(seed.content)
    assert (answer.outcome, answer.wrong) == (seed.reason or DECODED, ())


def test_real_and_found_ones_do_no_harm(lane: Lane) -> None:
    for seed in corpus():
        if not seed.settled:
            assert lane.ask(seed.content).wrong == (), seed.name


def test_every_transfer_syntax_is_there_and_decodes() -> None:
    there = {dcmread(DicomBytesIO(seed.content)).file_meta.TransferSyntaxUID
             for seed in SEEDS if seed.name.startswith("syntax-")}  # fmt: skip
    assert there == NATIVE | PLUGINS.keys()


def test_it_is_always_the_same() -> None:
    again = [*dicom_seeds(), *picture_seeds()]
    assert corpus_digest(tuple(again)) == corpus_digest(tuple(SEEDS[: len(again)]))
    assert len({seed.name for seed in corpus()}) == len(corpus())


def test_dicom_files_hold_canaries() -> None:
    for seed in SEEDS:
        if seed.name.startswith(("syntax-", "header-")) and "Deflated" not in seed.name:
            assert holds_canary(seed.content), seed.name


def test_canaries_are_seen_in_every_guise() -> None:
    assert holds_canary(f"the patient is {WORD}^NAME")
    assert holds_canary(WORD.lower())
    assert holds_canary(b"\0" + WORD.encode("utf-16-le"))
    assert not holds_canary("the modality is not a known code")
    assert around_canary(b"x" * 100 + WORD.encode()) == repr(b"x" * 40 + WORD.encode())
