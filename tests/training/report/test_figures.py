"""Each figure from a whole cohort and from what a manifest may lack: a picture, or a sentence in its place."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from made_study import HOSTILE, MadeImages, bare_outcome, made_outcome, made_rows, stripped

from training.model import ClassifierArchitecture
from training.outcome import StudyOutcome
from training.report import cases, patients, performance, processing, reliability
from training.report.course import course
from training.report.document import Missing, Picture
from training.report.drawing import drawable, tinted
from training.report.embedding import map_of_embeddings
from training.report.network import network, stages_of
from training.report.retrieval import neighbours
from training.row import Row

Draw = Callable[[StudyOutcome], Picture | Missing]
IMAGES = MadeImages()
FIGURES: dict[str, Draw] = {
    "Figure 1": lambda outcome: cases.pipeline(outcome, IMAGES),
    "Figure 2": performance.separation,
    "Figure 3": map_of_embeddings,
    "Figure 4": course,
    "Figure 5": lambda outcome: cases.hard(outcome, IMAGES),
    "Figure 6": lambda outcome: neighbours(outcome, IMAGES),
    "Figure s1": patients.sex,
    "Figure s2": patients.age,
    "Figure s3": lambda outcome: processing.augmentations(outcome, IMAGES),
    "Figure s4": lambda outcome: processing.segmentation(outcome, IMAGES),
    "Figure s6": performance.draws,
    "Figure s7": lambda outcome: reliability.diagram(outcome, "Figure s7"),
}
EACH = pytest.mark.parametrize("number", FIGURES)


@pytest.fixture(scope="module")
def outcome() -> StudyOutcome:
    return made_outcome()


def rows_of(*splits_and_labels: tuple[str, str]) -> tuple[Row, ...]:
    """A row of each, every one of a patient of its own."""
    known = made_rows()
    return tuple(
        replace(known[number], split=split, label=label, patient_id=str(number), columns=known[1].columns)
        for number, (split, label) in enumerate(splits_and_labels)
    )


def hostile(rows: Sequence[Row]) -> tuple[Row, ...]:
    names = {"source": HOSTILE, "hospital": HOSTILE}
    return tuple(replace(row, columns={**row.columns, **(names if row.line % 2 else {})}) for row in rows)


@EACH
def test_a_whole_cohort_gives_every_figure_with_caption_n_and_alt_twice_the_same(
    number: str, outcome: StudyOutcome
) -> None:
    figure = FIGURES[number](outcome)
    assert isinstance(figure, Picture) and figure.number == number
    assert len(figure.caption) > 60 and len(figure.alt) > 20
    assert any(character.isdigit() for character in figure.caption)
    if figure.suffix == "svg":
        assert b"<svg" in figure.content and b"<dc:date>" not in figure.content
    else:
        pixels = cv2.imdecode(np.frombuffer(figure.content, np.uint8), cv2.IMREAD_COLOR)
        assert 990 < pixels.shape[1] < 1040, "150 dots an inch on the width of a page"
    assert FIGURES[number](made_outcome()) == figure


@EACH
def test_three_rows(number: str) -> None:
    small = bare_outcome(rows_of(("train", "other"), ("train", "covid"), ("test", "covid")))
    figure = FIGURES[number](small)
    assert isinstance(figure, Missing) == (number in ("Figure 2", "Figure 3", "Figure s6"))


@EACH
def test_an_empty_test_split(number: str) -> None:
    figure = FIGURES[number](bare_outcome(rows_of(("train", "other"), ("train", "covid"), ("val", "covid"))))
    assert isinstance(figure, Missing) == (number not in ("Figure s3",)), figure


def test_names_that_a_font_or_a_formula_would_choke_on() -> None:
    outcome = bare_outcome(hostile(made_rows(60)))
    draw = outcome.draws[0]
    names = {"other": "$_{$ other", "covid": HOSTILE}
    renamed = replace(draw, rows=tuple(replace(row, label=names[row.label]) for row in draw.rows))
    strange = replace(outcome, labels=("$_{$ other", HOSTILE), draws=(renamed,))
    for number in ("Figure 1", "Figure 2", "Figure 3", "Figure 4", "Figure 5", "Figure 6", "Figure s1", "Figure s2"):
        assert isinstance(FIGURES[number](strange), Picture), number


def test_one_label_in_the_test_split_is_shown_as_far_as_it_goes() -> None:
    rows = [replace(row, label="covid") if row.split == "test" else row for row in made_rows(40)]
    single = bare_outcome(rows)
    assert isinstance(performance.separation(single), Missing)
    found = neighbours(single, IMAGES)
    assert isinstance(found, Picture) and "one label only" in found.caption


def test_doubtful_cases_stand_in_for_hard_ones_and_the_caption_says_so() -> None:
    named, none_named = (cases.hard(bare_outcome(rows), IMAGES) for rows in (made_rows(60), stripped(made_rows(60))))
    assert isinstance(named, Picture) and "named hard to diagnose" in named.caption
    assert isinstance(none_named, Picture) and "names no hard cases" in none_named.caption


def test_pictures_without_evidence_or_augmentations() -> None:
    plain = MadeImages(with_evidence=False, names=())
    outcome = bare_outcome(made_rows(40))
    first = cases.pipeline(outcome, plain)
    assert isinstance(first, Picture) and "Evidence" not in first.caption and "(b) lung probability" in first.caption
    sheet = processing.augmentations(outcome, plain)
    assert isinstance(sheet, Picture) and "(a) Original." in sheet.caption


def test_one_draw_and_one_source_are_said() -> None:
    outcome = bare_outcome(stripped(made_rows(40)))
    draws, scatter = performance.draws(outcome), map_of_embeddings(outcome)
    assert isinstance(draws, Picture) and "one draw only" in draws.caption
    assert isinstance(scatter, Picture) and "names no source" in scatter.caption


def test_embeddings_that_are_all_the_same_give_no_map() -> None:
    outcome = bare_outcome(made_rows(40))
    draw = outcome.draws[0]
    dead = {name: replace(one, embeddings=np.zeros_like(one.embeddings)) for name, one in draw.answers.items()}
    assert isinstance(map_of_embeddings(replace(outcome, draws=(replace(draw, answers=dead),))), Missing)


def test_the_network_is_drawn_from_its_architecture() -> None:
    architecture = ClassifierArchitecture("resnet50", "resnet50", side=1024)
    assert [(stage.side, stage.channels) for stage in stages_of(architecture)] == [
        (512, 64), (256, 256), (128, 512), (64, 1024), (32, 2048),
    ]  # fmt: skip
    drawn = network("resnet50", architecture)
    assert isinstance(drawn, Picture) and "32x32x2048" in drawn.caption
    assert isinstance(network("vgg16", ClassifierArchitecture("vgg16", "vgg16_bn", side=64)), Picture)
    assert isinstance(network("mine", None), Missing)


def test_tint_and_letters() -> None:
    grey = np.full((8, 8), 100, np.uint8)
    share = np.zeros((2, 2), np.float32)
    assert (tinted(grey, share, "#D55E00", side=8) == 100).all()
    assert tuple(tinted(grey, share + 1, "#D55E00", side=8)[0, 0]) == (168, 96, 40)
    assert drawable("Łódź\n🧪") == "Łódź\n?"
