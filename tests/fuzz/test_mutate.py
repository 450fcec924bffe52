"""Spoiled files: always the same for a seed and a number, and no edit fails on anything."""

import random
import zlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fuzz import byte_edits, codestream_edits, dicom_edits, picture_edits
from benchmarks.fuzz.corpus import corpus
from benchmarks.fuzz.dicom_elements import deflated_part, elements
from benchmarks.fuzz.mutate import MOST_BYTES, Edit, mutant
from benchmarks.fuzz.picture_edits import chunks

EDITS = sorted(
    {
        *byte_edits.BYTE_EDITS,
        *codestream_edits.EDITS,
        *dicom_edits.EDITS,
        *picture_edits.PNG_EDITS,
        *picture_edits.TIFF_EDITS,
    },
    key=lambda edit: edit.__name__,
)
SEEDS = {seed.name: seed.content for seed in corpus()}
MADE = [mutant(corpus(), 1, number) for number in range(2000)]


def test_a_seed_and_a_number_give_the_same_file() -> None:
    assert [mutant(corpus(), 1, number) for number in range(100)] == MADE[:100]
    assert mutant(corpus(), 2, 0).content != MADE[0].content


def test_every_edit_and_every_seed_is_used() -> None:
    done = Counter(edit for each in MADE for edit in each.edits)
    assert set(done) == {edit.__name__ for edit in EDITS} | {"splice"}
    assert {each.made_of for each in MADE} == set(SEEDS)


def test_most_differ_from_what_they_are_made_of() -> None:
    same = [each for each in MADE if each.content == SEEDS[each.made_of]]
    assert len(same) < 0.1 * len(MADE)
    assert max(len(each.content) for each in MADE) <= MOST_BYTES


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
@given(st.integers(0, 1 << 32), st.one_of(st.binary(max_size=400), st.sampled_from(list(SEEDS.values()))))
def test_no_edit_fails_on_anything(edit: Edit, seed: int, content: bytes) -> None:
    assert edit(random.Random(seed), content) == edit(random.Random(seed), content)


def test_the_elements_of_a_file_are_those_that_pydicom_sees() -> None:
    found = {element.tag for element in elements(SEEDS["header-nested"])}
    assert {(2, 0x10), (8, 0x18), (0x10, 0x10), (0x28, 0x10), (0x7FE0, 0x10), (0xFFFE, 0xE000)} <= found
    for name in ("syntax-ImplicitVRLittleEndian", "syntax-ExplicitVRBigEndian", "no-preamble", "no-meta"):
        assert (0x7FE0, 0x10) in {element.tag for element in elements(SEEDS[name])}, name


def test_deflated_files_are_spoiled_within() -> None:
    content = SEEDS["syntax-DeflatedExplicitVRLittleEndian"]
    whole = [dicom_edits.set_number(random.Random(seed), content) for seed in range(40)]
    inflated = [part for part in map(deflated_part, whole) if part is not None]
    assert len({inner for _, inner in inflated}) > 10
    assert all((0x7FE0, 0x10) in {element.tag for element in elements(inner)} for _, inner in inflated[:5])


def test_chunks_of_a_png_keep_their_sums() -> None:
    for seed in range(50):
        spoiled = picture_edits.spoil_lines(random.Random(seed), SEEDS["png-grey-16"])
        (body,) = [body for kind, body in chunks(spoiled) if kind == b"IDAT"]
        zlib.decompress(body)
        assert chunks(spoiled)[-1] == (b"IEND", b"")


def test_a_directory_may_lie_anywhere() -> None:
    big = b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(40)
    for edit in picture_edits.TIFF_EDITS:
        edit(random.Random(1), big)
