"""Ledger, index and site calibration: sound, damaged, of another bundle, or not there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from kept_cases import finish
from reports import scored
from site_calibrations import FOUND, phantom_bundle

from edge import index_file
from edge.case_index import EarlierCases
from edge.config import Config
from edge.doctor import records
from edge.doctor.check import Check, Outcome, run
from edge.ledger_reader import LedgerReader
from edge.site_calibration import CalibrationStore
from edge.state import StateFolder, open_state
from edge.store import Ledger

CASES = 5


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    (tmp_path / "incoming").mkdir()
    return open_state(tmp_path / "state")


@pytest.fixture
def config(state: StateFolder) -> Config:
    return Config(state=str(state.root), bundle="phantom", include_earlier_cases=True)


@contextmanager
def opened(state: StateFolder) -> Iterator[Ledger]:
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        yield ledger


@pytest.fixture
def ledger(state: StateFolder, tmp_path: Path) -> Iterator[Ledger]:
    """Held, as by a daemon that runs beside."""
    with opened(state) as held:
        for number in range(CASES):
            report = replace(scored(number), bundle_id=phantom_bundle().id)
            finish(report, state, held, tmp_path / "incoming", after="keep")
        yield held


def test_a_sound_ledger_beside_the_daemon(config: Config, ledger: Ledger) -> None:
    found = records.ledger(config)
    assert (found.outcome, found.text.endswith("MB, sound")) == (Outcome.PASSED, True)


def test_a_ledger_too_large_to_be_read_now(config: Config, ledger: Ledger, state: StateFolder) -> None:
    with LedgerReader(state.ledger) as reader:
        assert reader.is_sound(within_s=0.0) is None
        assert len(reader.earlier_cases(phantom_bundle().id)) == CASES  # the connection is as before
        assert reader.is_sound(within_s=60.0) is True
    found = records.ledger(config, within_s=0.0)
    assert (found.outcome, "edge-cxr backup checks all of it" in found.text) == (Outcome.PASSED, True)


@pytest.mark.parametrize("at", [0, 3], ids=["header", "pages"])
def test_a_damaged_ledger(config: Config, state: StateFolder, tmp_path: Path, at: int) -> None:
    with opened(state) as held:
        for number in range(12):
            finish(scored(number), state, held, tmp_path / "incoming", after="keep")
    content = bytearray(state.ledger.read_bytes())
    content[at * 4096 : at * 4096 + 8000] = bytes([0x5A]) * 8000
    state.ledger.write_bytes(content)
    found = run("ledger", partial(records.ledger, config))
    assert found.outcome == Outcome.FAILED
    assert "is damaged" in found.finding
    assert "restore it from a backup" in found.finding


def test_without_a_ledger_nothing_is_wrong(config: Config, state: StateFolder) -> None:
    assert records.ledger(config).text == "there is none yet"
    assert records.earlier_cases(config, phantom_bundle()).text == "there are none yet"
    assert not state.ledger.exists()


def index(config: Config, **changed: object) -> Check:
    return run("earlier cases", partial(records.earlier_cases, replace(config, **changed), phantom_bundle()))  # type: ignore[arg-type]


def test_the_index_of_this_bundle(config: Config, state: StateFolder, ledger: Ledger, tmp_path: Path) -> None:
    assert index(config, include_earlier_cases=False).finding.startswith("not asked for")
    missing = index(config)
    assert (missing.outcome, "edge-cxr index rebuild" in missing.finding) == (Outcome.WARNING, True)
    with LedgerReader(state.ledger) as reader:
        earlier = EarlierCases(state.index, reader, phantom_bundle().id, size=128)
        earlier.complete(threading.Event())
        assert earlier.save()
    assert index(config).finding.startswith(f"{CASES} cases of bundle {phantom_bundle().id[:12]}; 0 later numbers")
    finish(replace(scored(9), bundle_id=phantom_bundle().id), state, ledger, tmp_path / "incoming", after="keep")
    assert "; 1 later numbers" in index(config).finding


def test_an_index_that_is_not_this_ledgers(config: Config, state: StateFolder, ledger: Ledger) -> None:
    path = index_file.path_of(state.index, phantom_bundle().id)
    stamp = index_file.Stamp(phantom_bundle().id, 128, "f16", 0, 99, "0:0.0")
    for wrong in (stamp, replace(stamp, last_number=1, forgotten="1:1.0")):
        with index_file.locked(state.index):
            index_file.save(path, wrong, b"")
        found = index(config)
        assert (found.outcome, "is of another ledger, or from before" in found.finding) == (Outcome.WARNING, True)
    with index_file.locked(state.index):
        index_file.save(path, replace(stamp, bundle_id="c" * 64), b"")
    found = index(config)
    assert (found.outcome, "is of bundle cccccccccccc, wanted" in found.finding) == (Outcome.WARNING, True)
    path.write_bytes(path.read_bytes() + b"x")
    assert (index(config).outcome, "is damaged" in index(config).finding) == (Outcome.WARNING, True)


def test_the_sites_calibration(config: Config, state: StateFolder) -> None:
    bundle = phantom_bundle()

    def found(**changed: object) -> Check:
        return run("site", partial(records.site_calibration, replace(config, **changed), bundle))  # type: ignore[arg-type]

    assert found(state="/absent").outcome == Outcome.PASSED
    assert "the bundle's operating point" in found().finding
    undecided = replace(bundle, manifest=replace(bundle.manifest, operating_points={}))
    assert "no verdict until edge-cxr calibrate-site" in records.site_calibration(config, undecided).text
    store = CalibrationStore(state.root, site_key=state.site_key)
    store.keep(bundle, "fp32", FOUND)
    lacking = found()
    assert (lacking.outcome, "for fp32 and not for int8" in lacking.finding) == (Outcome.WARNING, True)
    sealed = found(precision="fp32")
    assert (sealed.outcome, "operating point 0.250" in sealed.finding) == (Outcome.PASSED, True)
    path = store.path(bundle.id)
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75"))
    assert found(precision="fp32").outcome == Outcome.FAILED


def test_the_ledger_library_is_one_that_loses_nothing() -> None:
    assert records.sqlite().outcome == Outcome.PASSED
