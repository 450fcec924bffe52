"""What is asked at the command line is answered by the plan that the box keeps, and by its ledger where wanted."""

import hmac
import os
from dataclasses import replace
from pathlib import Path

import apsw
import numpy as np
import pytest
from fake_cuda import PLAN, FakeCuda, FakeTensorRT
from reports import scored, sha
from tiny_bundle import REFERENCE_CASES, write_manifest, write_tiny_bundle

from edge.audit import Event, operator
from edge.audit_log import AuditLog
from edge.bundle import read_bundle
from edge.config import Config
from edge.engines import open_engine
from edge.engines.opening import GpuPlace
from edge.engines.plans import PlanStore, plan_key
from edge.errors import StateError, UsageError
from edge.outputs.report_json import encode
from edge.phantom import render
from edge.phantom_dicom import write_dicom, write_png
from edge.reading_room import open_pipeline, similar_cases
from edge.state import open_state
from edge.store import Ledger


@pytest.mark.parametrize("kept", [True, False])
def test_the_gpu_answers_where_the_state_folder_keeps_its_plan(tmp_path: Path, kept: bool) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    bundle = read_bundle(folder)
    cuda, cpu = FakeCuda(), open_engine(bundle, backend="openvino")
    flavour = FakeTensorRT(cuda, cpu.infer).flavour()
    state = open_state(tmp_path / "state")
    if kept:
        key = plan_key(bundle.model_bytes("fp32"), "fp32", flavour, cuda.gpu)
        PlanStore(state.plans, site_key=state.site_key).keep(key, PLAN)
    config = Config(bundle=str(folder), state=str(state.root))
    with open_pipeline(config, find=lambda: GpuPlace(cuda, flavour)) as pipeline:
        assert pipeline.engine.identity.backend == ("tensorrt" if kept else "openvino")
    assert cuda.closed


@pytest.mark.parametrize("included", [True, False])
def test_similar_cases_are_sought_in_the_ledger_where_that_is_wanted(tmp_path: Path, included: bool) -> None:
    folder, state = write_tiny_bundle(tmp_path / "tiny"), open_state(tmp_path / "state")
    config = Config(bundle=str(folder), state=str(state.root), include_earlier_cases=included, neighbours=30)
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for number in (101, 102, 103):
            report = replace(scored(number), bundle_id=read_bundle(folder).id)
            ledger.record(report, encode(report), None)
    by_case = [near.case_id for near in similar_cases(sha(101)[:16], config)]
    earlier = {sha(102)[:16], sha(103)[:16]} if included else set()
    assert set(by_case) == {f"{number:016x}" for number in range(REFERENCE_CASES)} | earlier
    assert len(by_case) == REFERENCE_CASES + len(earlier)
    write_png(render(1, "covid", longest_side=256), tmp_path / "chest.png")
    by_file = {near.case_id for near in similar_cases(str(tmp_path / "chest.png"), config)}
    assert by_file - set(by_case) == ({sha(101)[:16]} if included else set())
    with pytest.raises(UsageError, match="has no score from bundle"):
        similar_cases(sha(104)[:16], config)
    looked_up = ["case", "file"] if included else ["case"]  # the file's neighbours are else the bundle's own cases
    with AuditLog(state.ledger, site_key=state.site_key) as log:
        told = list(log.entries(event=Event.LOOKED_UP))
        assert log.verify().fault_count == 0
    assert [entry.detail["asked"] for entry in told] == looked_up
    counts = {"by": operator(), "k": 30, "found": len(by_case)}
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
    by_file = {near.case_id for near in similar_cases(str(tmp_path / "chest.dcm"), config)}
    assert by_file == (others | own if same_patient else others)
    by_case = {near.case_id for near in similar_cases(sha(101)[:16], config)}
    assert by_case == (others | own if same_patient else others) - {sha(101)[:16]}
    whose_is_unknown = {near.case_id for near in similar_cases(sha(103)[:16], config)}
    assert whose_is_unknown == (others | own) - {sha(103)[:16]}


def test_a_patient_is_not_recognised_without_the_boxs_key(tmp_path: Path) -> None:
    write_png(render(1, "covid", longest_side=256), tmp_path / "chest.png")
    config = Config(bundle="phantom", state=str(tmp_path / "nowhere"), same_patient=False)
    with pytest.raises(UsageError, match=r"holds no site key that can be read, .* leave --other-patients out"):
        similar_cases(str(tmp_path / "chest.png"), config)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("asked", ["case", "file"])
def test_nothing_is_shown_where_the_look_up_cannot_be_noted(tmp_path: Path, asked: str) -> None:
    folder, state = write_tiny_bundle(tmp_path / "tiny"), open_state(tmp_path / "state")
    config = Config(bundle=str(folder), state=str(state.root), include_earlier_cases=True)
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        report = replace(scored(101), bundle_id=read_bundle(folder).id)
        ledger.record(report, encode(report), None)
    write_png(render(1, "covid", longest_side=256), tmp_path / "chest.png")
    query = sha(101)[:16] if asked == "case" else str(tmp_path / "chest.png")
    assert similar_cases(query, config)
    os.chown(state.ledger, 1, 1)
    with pytest.raises(UsageError, match=r"must be noted in its audit log, and cannot be: .* belongs to user 1"):
        similar_cases(query, config)
    os.chown(state.ledger, 0, 0)
    state.ledger.with_name("site.key").unlink()  # as in a copy of the ledger alone
    with pytest.raises(UsageError, match=r"must be noted in its audit log, and cannot be: .*site\.key is missing"):
        similar_cases(query, config)
    if asked == "file":  # among the bundle's own cases anybody may look
        assert similar_cases(query, replace(config, include_earlier_cases=False))


def test_nothing_is_shown_when_the_entry_cannot_be_written(tmp_path: Path) -> None:
    folder, state = write_tiny_bundle(tmp_path / "tiny"), open_state(tmp_path / "state")
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        report = replace(scored(101), bundle_id=read_bundle(folder).id)
        ledger.record(report, encode(report), None)
    connection = apsw.Connection(str(state.ledger))
    connection.execute("DROP TABLE audit")
    connection.close()
    with pytest.raises(StateError):
        similar_cases(sha(101)[:16], Config(bundle=str(folder), state=str(state.root)))
