"""A study's report, whole: the chapters in order, and the files it becomes. Entry: write_report."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

from training.augment import Augmentation
from training.model import ClassifierArchitecture
from training.outcome import StudyOutcome
from training.presets import PRESETS
from training.report import (
    cases,
    cohort,
    confounding,
    groups,
    methods,
    patients,
    performance,
    processing,
    reliability,
    tables,
)
from training.report.course import course
from training.report.document import Block, Document, Heading, Missing, Notice, Paragraph
from training.report.embedding import map_of_embeddings
from training.report.front import first_page
from training.report.html import render_html
from training.report.images import Images
from training.report.markdown import FIGURES, render_markdown
from training.report.network import network
from training.report.retrieval import distance_table, neighbours
from training.report.shortcuts import shortcuts

HTML, MARKDOWN = "report.html", "report.md"
SHOWS_PATIENTS = Notice(
    "This report shows radiographs of patients, and any text burnt into them: handle it as you handle those."
)


def write_report(outcome: StudyOutcome, images: Images, out: Path, *, seed: int = 0, radiographs: bool = True) -> Path:
    """Write report.html, report.md and figures/ into `out`; returns the HTML file. Same outcome, same bytes.

    outcome.settings may hold `preset` (names the architecture of figure s5 and the augmentations), `operating_rule`
    (half where there is none) and `command`; the rest is printed as it stands. seed: of bootstrap samples and of t-SNE.
    radiographs: False leaves out what shows one, for a copy that may go where patients' pictures must not.
    """
    document = compose(outcome, images, seed=seed)
    if not radiographs:
        document = document.without_radiographs()
        document = replace(document, blocks=tuple(block for block in document.blocks if block is not SHOWS_PATIENTS))
    return write(document, out)


def write(document: Document, out: Path) -> Path:
    """Figures of an earlier report in `out` are removed, other files stay."""
    figures = out / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    for old in (*figures.glob("figure-*.svg"), *figures.glob("figure-*.png")):
        old.unlink()
    for picture in document.pictures():
        (figures / picture.file_name).write_bytes(picture.content)
    (out / MARKDOWN).write_text(render_markdown(document), encoding="utf-8")
    (out / HTML).write_text(render_html(document), encoding="utf-8")
    return out / HTML


def compose(outcome: StudyOutcome, images: Images, *, seed: int = 0) -> Document:
    """The paper's tables and figures keep their numbers; the others count on after them, in reading order."""
    found = shortcuts(outcome, images, seed=seed)
    numbers = (f"Table s{number}" for number in count(1))
    blocks: tuple[Block, ...] = (
        *first_page(outcome, found, numbers, seed=seed),
        SHOWS_PATIENTS,
        *_cohort(outcome, numbers),
        *_pipeline(outcome, images, numbers),
        *_performance(outcome, numbers, seed),
        *_cases(outcome, images, numbers, seed),
        *_subgroups(outcome, numbers),
        *confounding.chapter(outcome, found, numbers),
        *methods.chapter(outcome, numbers),
        Heading("Appendix: every network on every test split"),
        tables.split_table(outcome, next(numbers), seed=seed),
    )
    return Document(f"Study report: {outcome.title}", blocks)


def _cohort(outcome: StudyOutcome, numbers: Iterator[str]) -> Iterator[Block]:
    yield Heading("Cohort")
    yield cohort.demographics(outcome, "Table 1")
    yield cohort.exclusions(outcome, next(numbers))
    yield cohort.splits(outcome, next(numbers))


def _pipeline(outcome: StudyOutcome, images: Images, numbers: Iterator[str]) -> Iterator[Block]:
    architecture, augmentation = _built(outcome)
    yield Heading("Pipeline")
    yield cases.pipeline(outcome, images)
    yield processing.augmentations(outcome, images)
    if architecture is None:
        reason = "the study's settings name no preset, so the probabilities of the augmentations are not known."
        yield Missing(next(numbers), reason)
    else:
        yield processing.augmentation_table(augmentation, next(numbers))
    yield processing.segmentation(outcome, images)
    yield processing.overlap_table(outcome, next(numbers))
    yield network(outcome.embedding_member, architecture)


def _built(outcome: StudyOutcome) -> tuple[ClassifierArchitecture | None, Augmentation | None]:
    """How the embedding member was built and what it was shown, if the settings name a preset that is known."""
    preset = PRESETS.get(str(outcome.settings.get("preset")))
    member = None if preset is None else preset.networks.get(outcome.embedding_member)
    return (None, None) if member is None else (member.architecture, member.augmentation)


def _performance(outcome: StudyOutcome, numbers: Iterator[str], seed: int) -> Iterator[Block]:
    yield Heading("Performance")
    found = tables.measured(outcome, outcome.primary, seed=seed)
    yield tables.network_table(outcome, "Table 2", found)
    yield tables.paper_table(outcome, next(numbers), found)
    yield performance.separation(outcome, seed=seed)
    yield reliability.diagram(outcome, "Figure s7", seed=seed)
    yield reliability.operating_points(outcome, next(numbers))
    yield Heading("Over the divisions of the cohort", 3)
    yield tables.draw_table(outcome, next(numbers), seed=seed)
    yield tables.pooled_table(outcome, next(numbers), seed=seed)
    yield performance.draws(outcome, seed=seed)


def _cases(outcome: StudyOutcome, images: Images, numbers: Iterator[str], seed: int) -> Iterator[Block]:
    yield Heading("Embedding, similar cases, course and hard cases")
    yield map_of_embeddings(outcome, seed=seed)
    yield course(outcome)
    yield cases.hard(outcome, images)
    yield groups.hard_table(outcome, next(numbers))
    yield neighbours(outcome, images)
    yield distance_table(outcome, next(numbers))


def _subgroups(outcome: StudyOutcome, numbers: Iterator[str]) -> Iterator[Block]:
    yield Heading("Subgroups")
    yield Paragraph("Figures s1 and s2 show who is in the test split, as the paper's supplement does.")
    yield patients.sex(outcome)
    yield patients.age(outcome)
    yield groups.subgroup_table(outcome, next(numbers))
    yield groups.abnormal_table(outcome, next(numbers))
