"""Growth: the exponent of a law is found in its last tenfold alone, fixed costs are told apart, words fit numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.growth import Point, Told, amount, exponent, growths, straight_line

FACTORS = st.floats(1e-6, 1e3)


@given(st.floats(-2, 3), FACTORS)
def test_the_power_of_a_law_is_found(power: float, factor: float) -> None:
    sizes = {size: factor * size**power for size in (100, 250, 1000)}
    assert exponent(sizes) == pytest.approx(power, abs=1e-6)


@given(FACTORS, FACTORS)
def test_what_is_fixed_is_told_from_what_each_costs(fixed: float, each: float) -> None:
    found = straight_line({size: fixed + each * size for size in (10, 100, 1000)})
    scale = fixed + each
    assert found[0] == pytest.approx(fixed, rel=1e-4, abs=1e-4 * scale)
    assert found[1] == pytest.approx(each, rel=1e-4, abs=1e-4 * scale)


def test_neither_part_of_a_cost_is_below_nothing() -> None:
    assert straight_line({1: 1.0, 10: 20.0}) == (0.0, pytest.approx(1.2))
    fixed, each = straight_line({1: 2.0, 10: 1.0})
    assert (1 < fixed < 2, each) == (True, 0.0)


def test_only_the_last_tenfold_counts_and_each_series_by_itself() -> None:
    bent = [Point(size, "bent", {"wall_s": 1.0 if size < 100 else size / 100}) for size in (1, 10, 100, 300, 1000)]
    alone = [Point(1000, "alone", {"wall_s": 1.0}), Point(10, "alone", {"wall_s": 1.0})]
    (found,) = growths(bent + alone, (Told("wall_s", "the time"), Told("cpu_s", "CPU")), "files")
    assert (found.series, found.low, found.high, found.fixed) == ("bent", 100, 1000, None)
    assert found.exponent == pytest.approx(1.0)
    assert found.sentence == (
        "bent: the time grows in proportion (exponent 1.00) from 100 to 1,000 files, from 1 s to 10 s."
    )


def test_a_sentence_tells_what_is_fixed() -> None:
    points = [Point(size, "", {"held_bytes": 2e6 + 2e3 * size}) for size in (1000, 10_000)]
    (found,) = growths(points, (Told("held_bytes", "memory", straight=True),), "cases")
    assert found.sentence == (
        "memory grows more slowly than in proportion (exponent 0.74) from 1,000 to 10,000 cases, "
        "from 4 MB to 22 MB; 2 MB in any case and 2 kB for each."
    )


@pytest.mark.parametrize(
    ("power", "words"),
    [(-0.5, "falls"), (0.05, "stays as it is"), (0.5, "more slowly"), (1.05, "in proportion"), (2, "faster")],
)
def test_words_fit_the_exponent(power: float, words: str) -> None:
    points = [Point(size, "", {"cpu_s": float(size) ** power}) for size in (10, 100)]
    assert words in growths(points, (Told("cpu_s", "CPU"),), "files")[0].sentence


def test_amounts_have_the_unit_that_reads_best() -> None:
    times = [amount("wall_s", value) for value in (0.0, 2.5e-5, 0.0123, 1.0, 680.48, 999.6, 1043.7)]
    assert times == ["nothing", "25 us", "12.3 ms", "1 s", "680 s", "1000 s", "1044 s"]
    assert [amount("file_bytes", value) for value in (453.0, 2.5e3, 4.87e8, 2.24e9)] == [
        "453 bytes", "2.5 kB", "487 MB", "2.24 GB",
    ]  # fmt: skip
