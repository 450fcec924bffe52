"""A site's manifest, and which of its radiographs count: each once, scored by the box, unknown to the bundle."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from manifest_files import write
from reports import gated, refused, scored, sha, source

from edge.errors import EngineError, UsageError
from edge.site_cohort import SiteManifest, SiteScores, read_site_manifest, score_site
from edge.site_fit import LabelledScore
from edge.snapshot import snapshot
from edge.values import Reason, Report

LABELS = ("other", "covid")
HEADER = "path,patient_id,label,split,group_id"


def read(folder: Path, *lines: str) -> SiteManifest:
    return read_site_manifest(write(folder, *lines, header=HEADER), LABELS)


def score(
    listed: SiteManifest, report_of: Callable[[Path], Report], *, known: frozenset[str] = frozenset()
) -> SiteScores:
    return score_site(listed, listed.rows, report_of, known)


def test_rows_are_those_with_a_label_that_nothing_was_trained_on(tmp_path: Path) -> None:
    listed = read(tmp_path, "a.png,p1,covid,,", "b.png,p2,other,val,", "c.png,p3,covid,train,", "c.png,p4,,,")
    assert [(row.line, row.positive) for row in listed.rows] == [(2, True), (3, False)]
    assert listed.rows[0].cluster != listed.rows[1].cluster
    assert listed.left_out == {"train": 1, "unlabelled": 1}
    assert listed.sha256 == hashlib.sha256((tmp_path / "manifest.csv").read_bytes()).hexdigest()


def test_patients_of_one_group_belong_together(tmp_path: Path) -> None:
    listed = read(tmp_path, "a.png,p1,covid,,family", "b.png,p2,other,,family", "c.png,p3,other,,")
    first, second, other = [row.cluster for row in listed.rows]
    assert first == second != other


def test_a_patient_is_never_two(tmp_path: Path) -> None:
    """p1 has a group on one line only, p2 brings another group with it; a patient named as a group is in none."""
    listed = read(
        tmp_path, "a.png,p1,covid,,g1", "b.png,p1,other,,", "c.png,p2,other,,g1", "a.png,p2,other,,g2",
        "b.png,p3,covid,,g2", "c.png,g1,other,,",
    )  # fmt: skip
    *together, named_alike = [row.cluster for row in listed.rows]
    assert len(set(together)) == 1
    assert named_alike not in together


def test_whoever_was_trained_on_is_left_out_with_all_radiographs(tmp_path: Path) -> None:
    listed = read(
        tmp_path, "a.png,p1,covid,test,", "b.png,p1,other,train,g1", "c.png,p2,other,,g1", "a.png,p3,covid,,",
        "b.png,p1,,,",
    )  # fmt: skip
    assert [row.line for row in listed.rows] == [5]
    assert listed.left_out == {"train": 4}


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    write(tmp_path, "a.png,p1,covid,,", header=HEADER)
    listed = read(tmp_path / "linked", "b.png,p1,covid,,")
    (tmp_path / "linked/b.png").unlink()
    (tmp_path / "linked/b.png").symlink_to(tmp_path / "a.png")
    listed = read_site_manifest(tmp_path / "linked/manifest.csv", LABELS)

    def opened(path: Path) -> Report:
        with snapshot(path):
            return scored(1)

    assert len(score(listed, opened).cases) == 1


def test_faults_are_named_by_line_and_no_cell_is_repeated(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read(
            tmp_path, "a.png,,covid,,", "b.png,p2,MEIER^ANNA,,", "MEIER.png,p3,other,,", ",p4,other,,",
            "a,b,covid,,,,x", f"{'MEIER' * 60}.png,p5,other,,",
        )  # fmt: skip
    told = str(raised.value)
    assert "not used before this is mended (6)" in told
    seen = (2, "patient_id is empty"), (3, "neither other nor covid"), (4, "no such"), (5, "no such"), (7, "no such")
    for line, what in seen:
        assert f"line {line}: " in told and what in told.split(f"line {line}: ")[1].splitlines()[0]
    assert "line 6: more cells" in told
    assert "MEIER" not in told


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the manifest cannot be read"):
        read_site_manifest(tmp_path, LABELS)
    (tmp_path / "m.csv").write_text("path,label\na.png,covid\n")
    with pytest.raises(UsageError, match="has no column patient_id"):
        read_site_manifest(tmp_path / "m.csv", LABELS)


def test_what_the_box_refuses_is_counted_and_left_out(tmp_path: Path) -> None:
    listed = read(tmp_path, "a.png,p1,covid,,", "b.png,p2,other,,", "c.png,p3,other,,", "c.png,p9,,,")
    reports = {
        "a.png": scored(1, score=0.7),
        "b.png": replace(gated(2), source=source(2, pixels="2" * 64)),
        "c.png": refused(3),
    }
    found = score(listed, lambda path: reports[path.name])
    assert found.cases == (LabelledScore(0.7, True, listed.rows[0].cluster),)
    assert found.left_out == {"no_lungs": 1, "truncated": 1, "unlabelled": 1}


def test_a_score_behind_a_refusal_does_not_count(tmp_path: Path) -> None:
    listed = read(tmp_path, "a.png,p1,covid,,")
    assert score(listed, lambda path: replace(scored(1), reason=Reason.INVERTED)).cases == ()


def test_the_score_is_the_networks_own(tmp_path: Path) -> None:
    """Whatever the bundle's temperature has made of it."""
    report = scored(1, score=0.99)
    assert report.prediction is not None
    scaled = replace(report.prediction, calibrated=True, members={"one": 0.2, "two": 0.4})
    found = score(read(tmp_path, "a.png,p1,covid,,"), lambda path: replace(report, prediction=scaled))
    assert found.cases[0].score == pytest.approx(0.3)


def test_a_file_counts_once_and_has_one_label(tmp_path: Path) -> None:
    def same(path: Path) -> Report:
        return scored(1)

    twice = read(tmp_path, "a.png,p1,covid,,", "b.png,p2,covid,,")
    assert score(twice, same).left_out == {"repeated": 1}
    assert len(score(twice, same).cases) == 1
    contrary = read(tmp_path, "a.png,p1,covid,,", "b.png,p2,other,,")
    with pytest.raises(UsageError, match="lines 2 and 3 name the same radiograph with both labels"):
        score(contrary, same)


def test_a_second_export_of_the_same_pixels_is_no_second_radiograph(tmp_path: Path) -> None:
    """Other bytes and the same picture: also where it has another label, or another pseudonym."""
    reports = {"a.png": scored(1, pixels="1" * 64), "b.png": scored(2, pixels="1" * 64), "c.png": scored(3)}
    found = score(read(tmp_path, "a.png,p1,covid,,", "b.png,p2,covid,,", "c.png,p3,covid,,"), lambda p: reports[p.name])
    assert (len(found.cases), found.left_out) == (2, {"repeated": 1})
    with pytest.raises(UsageError, match="lines 2 and 3 name the same radiograph with both labels"):
        score(read(tmp_path, "a.png,p1,covid,,", "b.png,p1,other,,"), lambda path: reports[path.name])


def test_whose_case_the_bundle_holds_is_left_out_with_all_radiographs(tmp_path: Path) -> None:
    listed = read(tmp_path, "a.png,p1,covid,,", "b.png,p1,covid,,", "c.png,p2,covid,,")
    reports = {f"{name}.png": scored(place, pixels=name * 64) for place, name in enumerate("abc")}
    for held in (0, 1):
        found = score(listed, lambda path: reports[path.name], known=frozenset({sha(held)[:16]}))
        assert [case.cluster for case in found.cases] == [listed.rows[2].cluster]
        assert found.left_out == {"known_to_bundle": 2}


def test_what_the_bundle_was_made_from_proves_nothing(tmp_path: Path) -> None:
    listed = read(tmp_path, "a.png,p1,covid,,")
    found = score(listed, lambda path: scored(1), known=frozenset({sha(1)[:16]}))
    assert (found.cases, found.left_out) == ((), {"known_to_bundle": 1})


def test_files_that_cannot_be_opened_are_counted_and_an_engines_fault_is_not(tmp_path: Path) -> None:
    listed = read(tmp_path, "a.png,p1,covid,,")
    (tmp_path / "a.png").unlink()

    def opened(path: Path) -> Report:
        with snapshot(path):
            raise AssertionError("it is gone")

    def broken(path: Path) -> Report:
        raise EngineError("the engine failed; run: edge-cxr doctor")

    assert score(listed, opened).left_out == {"unopenable": 1}
    with pytest.raises(EngineError):
        score(listed, broken)
