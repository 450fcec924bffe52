"""A look-up finds what is wanted, of the bundle's cases and the ledger's, notes it first, and draws what it can."""

import hashlib
import hmac
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import apsw
import cv2
import numpy as np
import pytest
from reports import scored, sha
from tiny_bundle import REFERENCE_CASES, write_manifest, write_tiny_bundle

from edge.audit import Event, operator
from edge.audit_log import AuditLog
from edge.bundle import read_bundle
from edge.config import Config
from edge.decision import Decision
from edge.errors import EdgeError, StateError, UsageError
from edge.lookup import look_up, lookup_json
from edge.lookup_sheet import sheet_drawer
from edge.outputs.report_json import encode
from edge.phantom import render
from edge.phantom_dicom import write_dicom, write_png
from edge.similarity import Wanted
from edge.state import StateFolder, open_state
from edge.store import Ledger
from edge.temperature import apply_temperature
from edge.upkeep import Upkeep
from edge.values import Report, Warn


def similar(query: str, config: Config, wanted: Wanted = Wanted()) -> list[str]:  # noqa: B008 - frozen
    return [near.case.case_id for near in look_up(query, config, wanted).found]


@pytest.mark.parametrize("included", [True, False])
def test_similar_cases_are_sought_in_the_ledger_where_that_is_wanted(
    tmp_path: Path, tiny: Path, included: bool
) -> None:
    folder, state = tiny, open_state(tmp_path / "state")
    config = Config(bundle=str(folder), state=str(state.root), include_earlier_cases=included, neighbours=30)
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for number in (101, 102, 103):
            report = replace(scored(number), bundle_id=read_bundle(folder).id)
            ledger.record(report, encode(report), None)
    by_case = similar(sha(101)[:16], config)
    earlier = {sha(102)[:16], sha(103)[:16]} if included else set()
    assert set(by_case) == {f"{number:016x}" for number in range(REFERENCE_CASES)} | earlier
    assert len(by_case) == REFERENCE_CASES + len(earlier)
    write_png(render(1, "covid", longest_side=256), tmp_path / "chest.png")
    by_file = set(similar(str(tmp_path / "chest.png"), config))
    assert by_file - set(by_case) == ({sha(101)[:16]} if included else set())
    with pytest.raises(UsageError, match="has no score from bundle"):
        similar(sha(104)[:16], config)
    looked_up = ["case", "file"] if included else ["case"]  # the file's neighbours are else the bundle's own cases
    with AuditLog(state.ledger, site_key=state.site_key) as log:
        told = list(log.entries(event=Event.LOOKED_UP))
        assert log.verify().fault_count == 0
    assert [entry.detail["asked"] for entry in told] == looked_up
    counts = {"by": operator(), "k": 30, "found": len(by_case), "sheet": False}
    assert (told[0].case, told[0].detail) == (sha(101)[:16], counts | {"asked": "case"})
    if included:
        assert told[1].case == "not in the ledger"  # known by the bytes of the file, which the box did not judge


@pytest.mark.parametrize("same_patient", [True, False])
def test_other_images_of_the_querys_patient_are_left_out_where_that_is_wanted(
    tmp_path: Path, same_patient: bool
) -> None:
    """Of the bundle's cases, where it was made with the box's key, and of the ledger's."""
    state = open_state(tmp_path / "state")
    write_dicom(render(1, "covid", longest_side=256), tmp_path / "chest.dcm")
    patient, another = (
        hmac.new(state.site_key, f"patient:{name}".encode(), "sha256").hexdigest() for name in ("PHANTOM-1", "B")
    )
    folder = write_tiny_bundle(tmp_path / "tiny")
    arrays = dict(np.load(folder / "reference.npz"))
    np.savez(folder / "reference.npz", **arrays, patients=np.array([patient, another, "", *[patient] * 5]))
    write_manifest(folder)
    config = Config(
        bundle=str(folder), state=str(state.root), include_earlier_cases=True, neighbours=30, same_patient=same_patient
    )
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for number, key in ((101, patient), (102, another), (103, None), (104, patient)):
            report = replace(scored(number), bundle_id=read_bundle(folder).id)
            report = replace(report, source=replace(report.source, patient_key=key))
            ledger.record(report, encode(report), None)
    others = {f"{1:016x}", f"{2:016x}", sha(102)[:16], sha(103)[:16]}
    own = {f"{number:016x}" for number in (0, 3, 4, 5, 6, 7)} | {sha(101)[:16], sha(104)[:16]}
    by_file = set(similar(str(tmp_path / "chest.dcm"), config))
    assert by_file == (others | own if same_patient else others)
    by_case = set(similar(sha(101)[:16], config))
    assert by_case == (others | own if same_patient else others) - {sha(101)[:16]}
    whose_is_unknown = set(similar(sha(103)[:16], config))
    assert whose_is_unknown == (others | own) - {sha(103)[:16]}


def test_a_patient_is_not_recognised_without_the_boxs_key(tmp_path: Path) -> None:
    write_png(render(1, "covid", longest_side=256), tmp_path / "chest.png")
    config = Config(bundle="phantom", state=str(tmp_path / "nowhere"), same_patient=False)
    with pytest.raises(UsageError, match=r"holds no site key that can be read, .* leave --other-patients out"):
        similar(str(tmp_path / "chest.png"), config)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("asked", ["case", "file"])
def test_nothing_is_shown_where_the_look_up_cannot_be_noted(tmp_path: Path, tiny: Path, asked: str) -> None:
    folder, state = tiny, open_state(tmp_path / "state")
    config = Config(bundle=str(folder), state=str(state.root), include_earlier_cases=True)
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        report = replace(scored(101), bundle_id=read_bundle(folder).id)
        ledger.record(report, encode(report), None)
    write_png(render(1, "covid", longest_side=256), tmp_path / "chest.png")
    query = sha(101)[:16] if asked == "case" else str(tmp_path / "chest.png")
    assert similar(query, config)
    os.chown(state.ledger, 1, 1)
    with pytest.raises(UsageError, match=r"must be noted in its audit log, and cannot be: .* belongs to user 1"):
        similar(query, config)
    os.chown(state.ledger, 0, 0)
    state.ledger.with_name("site.key").unlink()  # as in a copy of the ledger alone
    with pytest.raises(UsageError, match=r"must be noted in its audit log, and cannot be: .*site\.key is missing"):
        similar(query, config)
    if asked == "file":  # among the bundle's own cases anybody may look
        assert similar(query, replace(config, include_earlier_cases=False))


def test_nothing_is_shown_when_the_entry_cannot_be_written(tmp_path: Path, tiny: Path) -> None:
    folder, state = tiny, open_state(tmp_path / "state")
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        report = replace(scored(101), bundle_id=read_bundle(folder).id)
        ledger.record(report, encode(report), None)
    connection = apsw.Connection(str(state.ledger))
    connection.execute("DROP TABLE audit")
    connection.close()
    with pytest.raises(StateError):
        similar(sha(101)[:16], Config(bundle=str(folder), state=str(state.root)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def box(tmp_path: Path, tiny: Path) -> tuple[StateFolder, Config]:
    """A ledger of eight cases, scored a day apart from day 1 on, every third AP, every third PA."""
    folder, state = tiny, open_state(tmp_path / "state")
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for number in range(101, 109):
            report = of_bundle(scored(number, score=0.1 if number == 101 else 0.75), folder)
            assert report.source is not None
            view = replace(report.source, view_position=("AP", "PA", None)[number % 3])
            ledger.record(replace(report, source=view), encode(replace(report, source=view)), None)
        with ledger._transaction() as connection:
            connection.execute("UPDATE cases SET finished_s = number * 86400.0")
    return state, Config(bundle=str(folder), state=str(state.root), include_earlier_cases=True, neighbours=30)


def of_bundle(report: Report, folder: Path) -> Report:
    return replace(report, bundle_id=read_bundle(folder).id)


def ids(*numbers: int) -> set[str]:
    return {sha(number)[:16] for number in numbers}


def test_only_what_is_wanted_is_found(box: tuple[StateFolder, Config]) -> None:
    """By view, time and label; of the query nothing is asked."""
    state, config = box
    day_s = 86_400.0

    def found(**asked: object) -> set[str]:
        return set(similar(sha(101)[:16], config, Wanted(**asked)))  # type: ignore[arg-type]

    assert found(view="AP") == ids(102, 105, 108)
    assert found(view="PA") == ids(103, 106)
    assert found(since_s=7 * day_s) == ids(107, 108)
    assert found(until_s=3 * day_s) == ids(102)
    assert found(since_s=2 * day_s, until_s=4 * day_s, view="PA") == ids(103)
    references = {f"{number:016x}" for number in range(REFERENCE_CASES)}
    assert found() == ids(*range(102, 109)) | references
    assert found(label="covid") == {f"{number:016x}" for number in range(0, REFERENCE_CASES, 2)}
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        assert upkeep.label(sha(104)[:16], "covid", by="Dr W")
    assert found(label="covid") & ids(*range(101, 109)) == ids(104)
    with pytest.raises(UsageError, match="'flu' is no label of the bundle; say --label covid or other"):
        found(label="flu")


def test_a_case_that_is_judged_again_keeps_its_age(tmp_path: Path, tiny: Path) -> None:
    """On request, or because another bundle serves since."""
    state, day_s = open_state(tmp_path / "state"), 86400.0
    again, anew, asked = (scored(number) for number in (101, 102, 103))
    with Upkeep(Ledger(state.ledger, site_key=state.site_key)._path, site_key=state.site_key) as ledger:
        for report in (again, anew, of_bundle(again, tiny)):
            ledger.record(report, encode(report), None)
        with ledger._transaction() as connection:
            connection.execute("UPDATE cases SET finished_s = number * 86400.0")
        ledger.ask_again([anew.sha256, again.sha256])
        for report in (again, anew, asked):
            ledger.record(of_bundle(report, tiny), encode(of_bundle(report, tiny)), None)
    config = Config(bundle=str(tiny), state=str(state.root), include_earlier_cases=True)
    found = look_up(sha(103)[:16], config, Wanted(since_s=0.0, until_s=3 * day_s)).found
    assert {near.case.case_id: near.case.judged_s for near in found} == {
        sha(101)[:16]: day_s,
        sha(102)[:16]: 2 * day_s,
    }


def test_what_no_reference_case_has_is_not_asked_of_them_alone(box: tuple[StateFolder, Config]) -> None:
    _, config = box
    for wanted in (Wanted(view="AP"), Wanted(since_s=1.0), Wanted(until_s=1.0)):
        with pytest.raises(UsageError, match="neither view nor time is known; set include_earlier_cases = true"):
            look_up(sha(101)[:16], replace(config, include_earlier_cases=False), wanted)


def test_scores_and_labels_of_the_neighbours_stand_beside_the_networks(box: tuple[StateFolder, Config]) -> None:
    state, config = box
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        for number, label in ((102, "covid"), (103, "other"), (104, "covid")):
            upkeep.label(sha(number)[:16], label, by="Dr W")
        upkeep.link(sha(103)[:16], "record 4711")
    only = Wanted(since_s=0.0)
    lookup = look_up(sha(101)[:16], config, only)
    assert lookup.knn_score == pytest.approx(0.75)
    assert lookup.knn_label_share == pytest.approx(2 / 3)
    assert lookup.warnings == (Warn.NEIGHBOURS_DISAGREE,)  # it was scored 0.1
    told = lookup_json(lookup)
    assert (told["case_id"], told["score"], told["positive"]) == (sha(101)[:16], 0.1, True)
    noted = {near["case_id"]: near["note"] for near in told["neighbours"] if near["note"]}
    assert noted == {sha(103)[:16]: "record 4711"}
    assert not any(near["reference"] for near in told["neighbours"])
    assert look_up(sha(102)[:16], config, only).warnings == ()


@pytest.mark.parametrize("temperature", [None, 4.0])
@pytest.mark.parametrize(("point", "answers"), [(0.5, ()), (0.7, (Warn.NEIGHBOURS_DISAGREE,))])
def test_neighbours_disagree_with_the_answer_that_was_given_on_the_bundles_scale(
    tmp_path: Path, tiny: Path, point: float, answers: tuple[Warn, ...], temperature: float | None
) -> None:
    """A site has set the point, and a temperature or none; the network said 0.95, and 0.6 of the neighbours."""
    state = open_state(tmp_path / "state")
    shown, decided = (float(apply_temperature(score, temperature or 1.0)) for score in (0.95, point))
    asked = replace(scored(1, score=shown), operating_point=decided, decision=Decision("site", decided, temperature))
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for report in (asked, *(scored(number, score=0.6) for number in range(2, 6))):
            ledger.record(of_bundle(report, tiny), encode(of_bundle(report, tiny)), None)
    config = Config(bundle=str(tiny), state=str(state.root), include_earlier_cases=True)
    assert look_up(sha(1)[:16], config, Wanted(since_s=0.0)).warnings == answers


def test_a_sheet_shows_the_pictures_that_are_at_hand_and_is_private(box: tuple[StateFolder, Config]) -> None:
    state, config = box
    incoming = state.root.parent
    write_dicom(render(1, "covid", longest_side=256), incoming / "query.dcm")
    write_png(render(2, "covid", longest_side=256), incoming / "kept.png")
    kept, query = (hashlib.sha256((incoming / n).read_bytes()).hexdigest() for n in ("kept.png", "query.dcm"))
    (state.archive).mkdir()
    (incoming / "kept.png").rename(state.archive / f"{kept[:16]}.png")
    write_png(render(3, "other", longest_side=192), state.archive / f"{sha(102)[:16]}.png")  # not the case's bytes
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for digest in (kept, query):
            report = of_bundle(scored(1), Path(config.bundle))
            source = replace(report.source, sha256=digest)  # type: ignore[type-var]
            report = replace(report, sha256=digest, source=source)
            ledger.record(report, encode(report), None)
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        upkeep.label(query[:16], "covid", by="Dr W")
    sheet = incoming / "sheet.png"
    several = replace(config, neighbours=9)
    lookup = look_up(str(incoming / "query.dcm"), several, Wanted(since_s=0.0), draw=sheet_drawer(sheet, several))
    assert lookup.asked.case.label == "covid"  # though a file was asked for
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert sheet.stat().st_mode & 0o777 == 0o600
    assert drawn.shape[1] == 16 + 5 * 496
    assert drawn.shape[0] > 2 * 2 * 480  # two rows of five
    tops = [96 + 38 + place // 5 * (drawn.shape[0] - 96 - 74) // 2 for place in range(10)]
    tiles = [drawn[top : top + 480, 16 + place % 5 * 496 :][:, :480] for place, top in enumerate(tops)]
    shown = [bool(tile.std() > 20) for tile in tiles]
    with_picture = [True, *(near.case.case_id == kept[:16] for near in lookup.found)]
    assert shown == with_picture
    assert sum(shown) == 2
    with AuditLog(state.ledger, site_key=state.site_key) as log:
        (entry,) = log.entries(event=Event.LOOKED_UP)
    assert entry.detail["sheet"] is True


def test_a_case_of_the_ledger_is_drawn_from_its_reference_image(box: tuple[StateFolder, Config]) -> None:
    """Known by its bytes, whatever its name and folder."""
    state, config = box
    folder = state.root.parent / "images" / "deep"
    folder.mkdir(parents=True)
    write_png(render(2, "covid", longest_side=256), folder / "any name.png")
    digest = hashlib.sha256((folder / "any name.png").read_bytes()).hexdigest()
    report = of_bundle(scored(1), Path(config.bundle))
    report = replace(report, sha256=digest, source=replace(report.source, sha256=digest))  # type: ignore[type-var]
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        ledger.record(report, encode(report), None)
    write_png(render(3, "covid", longest_side=256), state.root.parent / "another.png")
    shown = []
    for images in (None, folder.parent):
        sheet = state.root.parent / "sheet.png"
        drawer = sheet_drawer(sheet, config, reference_images=images)
        # As if the file had been replaced after it was scored.
        another = partial(drawer, file=state.root.parent / "another.png")
        look_up(digest[:16], replace(config, neighbours=1), draw=lambda *found, another=another: another(*found[:2]))
        drawn = cv2.imread(str(sheet))
        assert drawn is not None
        shown.append(bool(drawn[96 + 38 :, 16:][:480, :480].std() > 20))
    assert shown == [False, True]


@pytest.mark.parametrize("included", [True, False])
def test_a_look_up_that_is_not_noted_shows_nothing_of_the_box(tmp_path: Path, included: bool) -> None:
    """Though a reference case was scored here too, and its file is in the archive."""
    state = open_state(tmp_path / "state")
    write_png(render(2, "covid", longest_side=256), tmp_path / "kept.png")
    digest = hashlib.sha256((tmp_path / "kept.png").read_bytes()).hexdigest()
    state.archive.mkdir()
    (tmp_path / "kept.png").rename(state.archive / f"{digest[:16]}.png")
    folder = write_tiny_bundle(tmp_path / "tiny")
    arrays = dict(np.load(folder / "reference.npz"))
    np.savez(folder / "reference.npz", **arrays | {"case_ids": np.array([digest[:16]] * REFERENCE_CASES)})
    write_manifest(folder)
    Ledger(state.ledger, site_key=state.site_key).close()
    write_png(render(1, "covid", longest_side=256), tmp_path / "chest.png")
    config = Config(bundle=str(folder), state=str(state.root), include_earlier_cases=included, neighbours=1)
    look_up(str(tmp_path / "chest.png"), config, draw=sheet_drawer(tmp_path / "sheet.png", config))
    drawn = cv2.imread(str(tmp_path / "sheet.png"))
    assert drawn is not None
    assert bool(drawn[96 + 38 :, 16 + 496 :][:480, :480].std() > 20) == included


@pytest.mark.parametrize("name", ["sheet.jpg", "none/sheet.png", "folder.png"])
def test_a_sheet_that_cannot_be_written_is_refused_before_anything_is_looked_up(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match=r"is no place for a contact sheet; name a \.png file"):
        sheet_drawer(tmp_path / name, Config())
    with pytest.raises(UsageError, match="a contact sheet of 100 cases is too large"):
        sheet_drawer(tmp_path / "sheet.png", Config(neighbours=100))
    with pytest.raises(UsageError, match="is no folder; name the one with the reference images"):
        sheet_drawer(tmp_path / "sheet.png", Config(), reference_images=tmp_path / "none")


def test_a_file_that_is_not_scored_has_no_similar_cases(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "note.txt").write_text("no radiograph")
    config = Config(bundle=str(tiny), state=str(tmp_path / "state"))
    with pytest.raises(EdgeError, match=r"is not scored \(unreadable\)"):
        look_up(str(tmp_path / "note.txt"), config)
