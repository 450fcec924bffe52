"""The gate's rule from made-up pictures, its limits, what it is never fitted on, and what the card says of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.bundle import PACKAGED_FOLDER, open_bundle
from edge.config import Config
from edge.errors import UsageError
from edge.frontal import LENGTH, look_small, rule_of
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.reading_room import open_pipeline
from edge.reference_cases import reference_of
from edge.values import Reason
from export.add_gate import add_gate, groups_to_judge, rows_to_learn
from export.bundle_writer import read_content
from export.drift_levels import OF_PICTURES, drift_levels
from export.gate_card import gate_section
from export.gate_cli import gate_command
from export.gate_pictures import FOLDS, FRONTAL, INVERTED, Pictured
from export.gate_rule import REFUSED_AT_MOST, Fitted, arrays_of, fit, without
from export.negatives import DRAWINGS, SIDE, draw
from training.phantoms import write_training_set

DOWN, RIGHT = np.mgrid[-1:1:128j, -1:1:128j]
REFERENCE = np.zeros((1, 128), np.float32)
CASES = {
    "embeddings": np.zeros((20, 128)), "labels": np.array(["covid"] * 20), "scores": np.full(20, 0.5),
    "case_ids": np.array(["f" * 16] * 20), "origins": np.array([""] * 20),
}  # fmt: skip


def chest(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Lung mask and picture: two dark ovals in a bright body."""
    rng = np.random.default_rng(number)
    middle, size = rng.normal(0.45, 0.03), rng.uniform(0.9, 1.1)
    lungs = np.zeros_like(DOWN)
    for side in (-1, 1):
        lungs += np.exp(-(((RIGHT - side * middle) / (0.3 * size)) ** 4) - ((DOWN / (0.6 * size)) ** 4))
    picture = 0.8 - 0.6 * lungs - 0.2 * DOWN + rng.normal(0, 0.02, DOWN.shape)
    return lungs.astype(np.float32), np.clip(picture, 0, 1).astype(np.float32)


def pictured(kind: str, number: int, mask: np.ndarray, picture: np.ndarray) -> Pictured:
    fraction = float((mask > 0.5).mean())
    embedding = np.full(128, 0.1, np.float32)
    return Pictured(
        kind, f"p{number}", mask.astype(np.float16), picture.astype(np.float16), fraction, embedding,
        grey=(0.5, 0.2, None),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pictures() -> list[Pictured]:
    made = []
    for number in range(80):
        mask, picture = chest(number)
        made.append(pictured(FRONTAL, number, mask, picture))
        if number % 4 == 0:
            made.append(pictured(INVERTED, number, 1 - mask, 1 - picture))
            made.append(pictured("turned left", number, np.rot90(mask).copy(), np.rot90(picture).copy()))
    return made


@pytest.fixture(scope="module")
def fitted(pictures: list[Pictured]) -> Fitted:
    return fit(pictures, REFERENCE)


def test_it_refuses_what_it_was_taught_and_few_frontal_chests(fitted: Fitted) -> None:
    assert fitted.frontal.total == 80
    assert fitted.frontal.count <= REFUSED_AT_MOST * 80
    assert set(fitted.refusals[INVERTED]) == {Reason.INVERTED}
    assert set(fitted.refusals["turned left"]) == {Reason.NOT_FRONTAL_CHEST}


def test_a_mirrored_chest_is_as_frontal_as_before(fitted: Fitted) -> None:
    mask, picture = chest(1000)
    seen, mirrored = look_small(mask, picture), look_small(mask[:, ::-1].copy(), picture[:, ::-1].copy())
    assert fitted.rule.distance(mirrored.features) == pytest.approx(fitted.rule.distance(seen.features), abs=0.05)


def test_the_rule_is_read_as_it_was_written(fitted: Fitted) -> None:
    written = {"features": np.int64(1), **arrays_of(fitted.rule)}
    read = rule_of({name: np.asarray(part) for name, part in written.items()})
    seen = np.ones(LENGTH, np.float32)
    assert read.distance(seen) == fitted.rule.distance(seen)


def test_nobody_is_judged_by_a_rule_that_has_seen_them(pictures: list[Pictured]) -> None:
    for fold in range(FOLDS):
        judged = {each.patient for each in pictures if each.fold == fold}
        seen = {each.patient for each in without(pictures, fold)}
        assert judged
        assert not judged & seen
        assert judged | seen == {each.patient for each in pictures}


@pytest.mark.parametrize("name", sorted(DRAWINGS))
def test_every_drawing_is_a_picture_of_its_own_and_the_same_each_time(name: str) -> None:
    one, again, other = draw(name, 1).pixels, draw(name, 1).pixels, draw(name, 2).pixels
    assert one.shape == (SIDE, SIDE)
    assert one.dtype == np.uint16
    assert np.ptp(one) > 30_000
    assert (one == again).all()
    assert (one != other).any()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    splits = ("train", "val", "test_internal", "not_frontal", "excluded_overlay")
    for split in splits:
        (tmp_path / f"{split}.png").write_bytes(split.encode())
    lines = [f"{split}.png,{split},other,{split}" for split in splits]
    (tmp_path / "chest.csv").write_text("\n".join(["path,patient_id,label,split", *lines]) + "\n")
    return tmp_path / "chest.csv"


def test_it_learns_of_train_and_val_rows_alone_and_is_judged_by_the_others(manifest: Path) -> None:
    learned = rows_to_learn(manifest, permitted_only=False, seed=0)
    assert [row.split for row in learned] == ["train", "val"]
    groups = groups_to_judge(manifest, permitted_only=False, seed=0)
    assert {name: [path.name for path in paths] for name, paths in groups.items()} == {
        "not_frontal": ["not_frontal.png"],
        "test_internal": ["test_internal.png"],
    }


def test_of_a_plain_list_every_file_is_judged(tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("path,note\na.dcm,x\nb.dcm,y\n")
    groups = groups_to_judge(tmp_path / "odd.csv", permitted_only=False, seed=0)
    assert groups == {"odd.csv": [tmp_path / "a.dcm", tmp_path / "b.dcm"]}


def test_too_few_radiographs_set_no_limit(tmp_path: Path, pictures: list[Pictured]) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match="too few to set a gate by; give 200"):
        add_gate(folder, pictures[:100], {}, out=folder)
    assert (folder / "manifest.json").read_bytes() == before


def test_a_packaged_bundle_is_left_as_it_is(manifest: Path) -> None:
    arguments = [str(PACKAGED_FOLDER / "phantom"), "--manifest", str(manifest)]
    outcome = CliRunner().invoke(gate_command, arguments)
    assert isinstance(outcome.exception, UsageError)
    assert "name another folder with --out" in str(outcome.exception)


# A small bundle of phantoms gets its gate by the command.


@pytest.fixture(scope="module")
def ungated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = {"default_precision": "fp32", "gate": {}}
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    write_manifest(folder, training=training)
    return folder


@pytest.fixture(scope="module")
def gated(ungated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted on 30 phantoms, judged on 5 others, upright and from the side."""
    folder = tmp_path_factory.mktemp("gated")
    manifest = write_training_set(folder / "phantoms", {"train": 30}, longest_side=192)
    for variant in ("frontal", "lateral"):
        for seed in range(5):
            phantom = render(seed, "other", variant=variant, longest_side=192)
            write_dicom(phantom, folder / f"{variant}-{seed}.dcm")
        listed = "".join(f"{variant}-{seed}.dcm\n" for seed in range(5))
        (folder / f"{variant}.csv").write_text(f"path\n{listed}")
    asked = [ungated, "--manifest", manifest, "--out", folder / "bundle", "--seed", 0]
    asked += ["--evaluate", folder / "frontal.csv", "--evaluate", folder / "lateral.csv"]
    with pytest.MonkeyPatch.context() as patch:  # sizes alone: seven hundred pictures take minutes
        patch.setattr("export.add_gate.LEAST_RADIOGRAPHS", 30)
        for name, size in (("VARIED_EACH", 30), ("DRAWINGS_EACH", 1), ("MORE_OF", {}), ("LATERALS", 2)):
            patch.setattr(f"export.gate_pictures.{name}", size)
        told = CliRunner().invoke(gate_command, [str(part) for part in asked], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout) == {"bundle": "tiny", "id": open_bundle(str(folder / "bundle")).id}
    return folder / "bundle"


def test_the_command_makes_another_bundle_that_refuses_what_is_seen_from_the_side(ungated: Path, gated: Path) -> None:
    before, after = open_bundle(str(ungated)), open_bundle(str(gated))
    assert before.frontal_rule() is None and after.frontal_rule() is not None
    assert after.id != before.id
    assert after.manifest.gates.not_frontal is not None
    judged = read_content(gated).training["gate"]["rule"]["judged"]
    assert judged["lateral.csv"]["total"] == judged["frontal.csv"]["total"] == 5
    assert sum(judged["lateral.csv"]["refused"].values()) >= 4
    assert sum(judged["frontal.csv"]["refused"].values()) <= 1


def test_the_box_gives_a_lateral_phantom_no_score(gated: Path) -> None:
    with open_pipeline(Config(bundle=str(gated))) as pipeline:
        report = pipeline.report(gated.parent / "lateral-0.dcm")
        assert (report.scored, report.reason) == (False, Reason.NOT_FRONTAL_CHEST)
        assert pipeline.report(gated.parent / "frontal-0.dcm").scored


def test_the_levels_for_drift_are_of_radiographs_that_are_no_reference_case(pictures: list[Pictured]) -> None:
    """Nor of scores, which another hospital's patients spread otherwise, nor of kinds, nor of what too few have."""
    frontal = [each for each in pictures if each.frontal] * 3
    shown = [
        replace(
            each, case_id=f"{number:016x}", lung_fraction=number / 240, grey=(0.5, 0.2, 0.3 if number < 110 else None)
        )
        for number, each in enumerate(frontal)
    ]
    case_ids = np.array([f"{number:016x}" for number in range(20)])
    levels = drift_levels(shown, reference_of({**CASES, "case_ids": case_ids}))
    assert levels.keys() == {"embedding_distance", "lung_fraction", "brightness", "contrast"}
    assert {found.count for found in levels.values()} == {220}
    assert min(levels["lung_fraction"].edges) > 20 / 240
    assert levels["embedding_distance"].distance([1.1314]) == 0  # to as many digits as the box tells
    assert drift_levels(shown[:110], reference_of(CASES)).keys() == {*OF_PICTURES}


def test_the_card_tells_counts_intervals_and_reasons() -> None:
    rule = {
        "judged": {"test_internal": {"total": 27, "refused": {}}},
        "learned": {
            FRONTAL: {"total": 200, "refused": {"not_frontal_chest": 2, "no_lungs": 1}},
            "noisy": {"total": 2, "refused": {}},
            "upside down": {"total": 2, "refused": {"inverted": 2}},
            "drawn limb": {"total": 4, "refused": {"not_frontal_chest": 4}},
        },
    }
    section = gate_section(rule)
    assert "| test_internal | 0/27 = 0.000 (0.000 to 0.125) | - |" in section
    assert "| frontal | 3/200 = 0.015 (0.005 to 0.043) | not_frontal_chest 2, no_lungs 1 |" in section
    order = [line.split(" | ")[0] for line in section if line.startswith("| ")][-4:]
    assert order == ["| frontal", "| upside down", "| noisy", "| drawn limb"]
    assert not any("in sight" in line for line in section)
    noted = gate_section({**rule, "notes": ["It was fitted at night."]})
    assert "It was fitted at night." in noted
    assert len(noted) == len(section) + 2
    seen = gate_section({**rule, "judged": {"not_frontal": {"total": 14, "refused": {}}}})
    assert seen[1].startswith(
        "How frontal radiographs are varied and what is drawn was chosen with not_frontal in sight"
    )
