"""The whole report: every table and figure of the paper in it, nothing of a patient, and what is not known said."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_study import HOSTILE, MEMBERS, MadeImages, bare_outcome, made_outcome, made_rows, stripped

from training.presets import NO_PREPROCESSING
from training.report import groups, shortcuts, tables
from training.report.compose import compose, write, write_report
from training.report.document import Document, Missing, Notice, Picture, Table
from training.report.sample import drawn, sample
from training.splits import DRAWN_BESIDE_FIXED

PAPER = {"Table 1", "Table 2", *(f"Figure {number}" for number in (*range(1, 7), *(f"s{n}" for n in range(1, 7))))}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(made_outcome(), MadeImages(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def bare() -> Document:
    """Of a manifest that knows nothing but labels and patients."""
    return compose(bare_outcome(stripped(made_rows(40))), MadeImages(frozen=False))


def numbers(document: Document) -> list[str]:
    return [block.number for block in document.blocks if isinstance(block, (Table, Picture, Missing))]


def test_all_of_the_papers_tables_and_figures_are_there_once(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    cited = re.findall(r"<b>((?:Table|Figure) s?\d+)\.</b>", page)
    assert set(cited) >= PAPER and len(cited) == len(set(cited))
    assert page.count("<img ") == page.count('alt="') == len([name for name in cited if name.startswith("Figure")])
    assert "is not shown" not in page


def test_markdown_shows_the_same_figures_from_files(written: Path) -> None:
    text = (written.parent / "report.md").read_text(encoding="utf-8")
    files = re.findall(r"\((figures/[a-z0-9.-]+)\)", text)
    assert len(files) == len(set(files)) == len(list((written.parent / "figures").iterdir())) == 13
    assert all((written.parent / name).stat().st_size > 5000 for name in files)
    assert "| Ensemble | " not in text and "| **Ensemble** | " in text


def test_no_patient_and_no_path_stands_in_the_report(written: Path) -> None:
    for path in written.parent.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"SECRET" not in content and b"/secret" not in content, path.name


def test_what_the_manifest_holds_is_escaped(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page
    assert HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in page


def test_the_first_page_says_what_matters(written: Path) -> None:
    first = written.read_text(encoding="utf-8").partition("<nav")[0]
    for words in ("Research use only", "60 covid", "The ensemble on test, n = 30", "test_elsewhere", "edge-cxr train",
                  "What limits these figures", "operating_rule"):  # fmt: skip
        assert words in first, words
    assert 'class="notice loud"' in first and "The model reads the machine" in first


def test_an_old_figure_does_not_outlive_its_report(tmp_path: Path, bare: Document) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("figure-s2.svg", "mine.svg"):
        (tmp_path / "figures" / name).write_text("old")
    assert "Figure s2" not in {picture.number for picture in bare.pictures()}
    write(bare, tmp_path)
    assert not (tmp_path / "figures" / "figure-s2.svg").exists() and (tmp_path / "figures" / "mine.svg").exists()


def test_what_is_not_known_keeps_its_place_and_says_so(bare: Document) -> None:
    found = numbers(bare)
    assert set(found) >= PAPER and len(found) == len(set(found))
    missing = {block.number: block.reason for block in bare.blocks if isinstance(block, Missing)}
    assert {"Figure 4", "Figure s1", "Figure s2", "Figure s5"} <= missing.keys()
    assert all(len(reason) > 20 for reason in missing.values())
    verdict = next(block for block in bare.blocks if isinstance(block, Notice))
    assert not verdict.loud and "cannot be judged" in verdict.text


@pytest.fixture(scope="module")
def measured() -> tables.Found:
    return tables.measured(made_outcome(draws=1), "test")


def test_table_2_names_every_network_the_ensemble_and_both_votes(measured: tables.Found) -> None:
    outcome = made_outcome(draws=1)
    table = tables.network_table(outcome, "Table 2", measured)
    assert isinstance(table, Table)
    names = [row[0] for row in table.rows]
    assert names == [
        "ResNet34 *", "ResNet50 *", "ResNet152 *", "VGG16 *", "ResNet50, no preprocessing", "CheXpert", "Ensemble",
        "KNN vote by scores", "KNN vote by labels",
    ]  # fmt: skip
    assert table.strong == {names.index("Ensemble")}
    chosen = sample(outcome, "test")
    assert table.rows[6][1].endswith(f", {int(chosen.correct.sum())}/{len(chosen)}")


def test_the_papers_row_stands_under_each_of_ours(measured: tables.Found) -> None:
    outcome = made_outcome(draws=1)
    table = tables.paper_table(outcome, "Table s1", measured)
    rows = {row[0]: row for row in table.rows}
    assert rows["Ensemble: paper"][1:5] == (
        "0.903 (0.863 to 0.937), 317/351",
        "0.905 (0.850 to 0.940), 163/180",
        "0.900 (0.843 to 0.940), 154/171",
        "0.96 (0.93 to 0.97)",
    )
    assert "Not trained here" not in table.caption
    fewer = {name: found for name, found in measured.items() if name not in (NO_PREPROCESSING, "chexpert")}
    missing = tables.paper_table(outcome, "Table s1", fewer).caption
    assert "Not trained here: ResNet50, no preprocessing, CheXpert." in missing


def test_intervals_over_all_draws_pool_only_the_draws_of_a_network() -> None:
    table = tables.pooled_table(made_outcome(draws=3), "Table s2")
    assert isinstance(table, Table)
    counts = {row[0]: row[1] for row in table.rows}
    assert counts["Ensemble"] == counts["VGG16 *"] == "3 x 100" and counts["CheXpert"] == "1 x 100"


def test_a_draw_is_measured_on_what_was_drawn_for_it() -> None:
    outcome = made_outcome(draws=2)
    first, second = outcome.draws
    fixed = [replace(row, split=DRAWN_BESIDE_FIXED if row.split == "val" else row.split) for row in second.rows]
    found = list(drawn(replace(outcome, draws=(first, replace(second, rows=tuple(fixed))))))
    assert [{row.split for row in chosen.rows} for _, chosen in found] == [{"test"}, {DRAWN_BESIDE_FIXED}]


def test_the_operating_rule_moves_every_network_by_its_own_validation_scores() -> None:
    outcome = made_outcome(draws=1)
    moved = replace(outcome, settings={**outcome.settings, "operating_rule": "sensitivity=0.90"})
    assert sample(outcome, "test").point == 0.5
    points = {sample(moved, "test", name).point for name in (*MEMBERS, NO_PREPROCESSING)}
    assert len(points) == 5
    held = sample(moved, "val")
    assert (held.scores[held.positive] >= held.point).mean() >= 0.9


def test_confounding_is_judged_on_unseen_radiographs_and_sources() -> None:
    outcome = made_outcome(draws=1)
    assert shortcuts.other_sources(outcome) == ("test_elsewhere",)
    found = shortcuts.shortcuts(outcome, MadeImages())
    assert {row.split for row in found.unseen.rows} == {"val", "test", "test_elsewhere"}
    assert [item.name for item in found.left_out] == ["Besançon", "Zürich"]
    for item in found.left_out:
        assert {row.source for row in item.inside.rows} == {item.name} and item.member == "ResNet50"
    assert set(found.areas) == {"test", "test_elsewhere"} and shortcuts.FROZEN in found.areas["test"]
    assert found.verdict.reads_the_machine
    assert not any(
        f"the {name} alone" in reason for name in ("ensemble", "resnet50") for reason in found.verdict.reasons
    )


def test_a_source_that_only_val_holds_was_not_the_one_left_out() -> None:
    outcome = made_outcome(draws=1)
    first, *others = outcome.source_draws
    few = tuple(replace(row, split="val") if row.source == "Zürich" else row for row in first.rows)
    found = shortcuts.shortcuts(replace(outcome, source_draws=(replace(first, rows=few), *others)), MadeImages())
    assert [item.name for item in found.left_out] == ["Besançon", "Zürich"]


def test_hard_and_abnormal_tables_or_why_not() -> None:
    whole, none = made_outcome(draws=1), bare_outcome(stripped(made_rows(40)))
    hard = groups.hard_table(whole, "Table s1")
    assert isinstance(hard, Table) and hard.rows[1][1:4] == ("9 / 13", "0.77", "0.77")
    abnormal = groups.abnormal_table(whole, "Table s2")
    assert isinstance(abnormal, Table) and abnormal.rows[-1][:4] == ("Shaare Zedek (paper)", "145", "70", "75")
    for table in (groups.hard_table, groups.abnormal_table, groups.subgroup_table):
        assert isinstance(table(none, "Table s3"), Missing)
