"""`edge-cxr calibrate-site` on a box that really scores: what it prints, keeps and writes to the audit log."""

import json
import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.audit import Event, operator
from edge.audit_log import AuditLog, Entry
from edge.bundle import read_bundle
from edge.cli import main
from edge.config import Config
from edge.reading_room import open_pipeline
from edge.site_calibration import CalibrationStore, decide
from edge.state import StateFolder, open_state
from edge.store import Ledger
from edge.values import Prediction

OF_EACH = 30


@dataclass(frozen=True)
class Site:
    """A box that was used, a bundle, and radiographs of two kinds that its network tells apart, mostly."""

    root: Path
    bundle: Path
    manifest: Path

    @property
    def state(self) -> StateFolder:
        return open_state(self.root / "state")

    @property
    def store(self) -> CalibrationStore:
        return CalibrationStore(self.state.root, site_key=self.state.site_key)

    def call(self, *arguments: str) -> Result:
        where = ["--state", str(self.root / "state"), "--bundle", str(self.bundle)]
        return CliRunner().invoke(main, ["calibrate-site", *arguments, *where])

    def told(self) -> list[Entry]:
        with AuditLog(self.state.ledger, site_key=self.state.site_key) as log:
            assert log.verify().fault_count == 0
            return list(log.entries(event=Event.CALIBRATED))


def make_site(root: Path) -> Site:
    state = open_state(root / "state")
    Ledger(state.ledger, site_key=state.site_key).close()
    random, lines = np.random.default_rng(0), ["path,patient_id,label"]
    kinds = dict(zip(("other", "covid"), random.integers(0, 255, (2, 64, 64)), strict=True))
    for number in range(2 * OF_EACH):
        label = ("other", "covid")[number % 2]
        shown = np.clip(kinds[label] + random.normal(0, 40, (64, 64)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(root / f"MEIER-{number}.png"), shown)
        lines.append(f"MEIER-{number}.png,MEIER-{number},{label}")
    (root / "MEIER-0-again.png").write_bytes((root / "MEIER-0.png").read_bytes())
    (root / "MEIER.txt").write_text("no radiograph")
    lines += ["MEIER-0-again.png,MEIER-0,other", "MEIER.txt,MEIER-0,covid"]
    (root / "site.csv").write_text("\n".join(lines) + "\n")
    return Site(root, write_tiny_bundle(root / "tiny"), root / "site.csv")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Result]:
    site = make_site(tmp_path_factory.mktemp("site"))
    return site, site.call("--manifest", str(site.manifest), "--rule", "sensitivity=0.90", "--json")


@pytest.fixture
def site(calibrated: tuple[Site, Result], tmp_path: Path) -> Site:
    """A copy of the calibrated box, to be changed."""
    shutil.copytree(calibrated[0].root, tmp_path / "copy")
    return Site(tmp_path / "copy", tmp_path / "copy/tiny", tmp_path / "copy/site.csv")


def test_it_tells_what_it_found_and_what_it_left_out(calibrated: tuple[Site, Result]) -> None:
    site, result = calibrated
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    found = told["precisions"]["fp32"]
    assert (told["bundle_id"], told["labels"]) == (read_bundle(site.bundle).id, ["other", "covid"])
    assert (found["positives"], found["negatives"], found["patients"]) == (OF_EACH, OF_EACH, 2 * OF_EACH)
    assert found["left_out"] == {"repeated": 1, "unreadable": 1}
    assert (found["temperature"], found["uncalibrated"]) == (None, "60 radiographs are fewer than 300")
    point = found["operating_point"]
    assert 0.3 < point["low"] <= point["value"] <= point["high"] < 0.6
    assert "restart edge-cxr watch" in result.stderr
    assert "MEIER" not in result.output


def test_it_is_kept_sealed_beside_the_bundle_with_a_diagram(calibrated: tuple[Site, Result]) -> None:
    site, result = calibrated
    kept = site.store.find(read_bundle(site.bundle))
    assert kept is not None and kept.digest == json.loads(result.stdout)["digest"]
    names = {path.name for path in (site.root / "state/calibration").iterdir()}
    assert names == {f"{kept.bundle_id[:12]}.json", f"{kept.bundle_id[:12]}.fp32.png"}
    diagram = cv2.imread(str(site.store.diagram_path(kept.bundle_id, "fp32")))
    assert diagram.shape[1] > 600
    for path in (site.root / "state/calibration").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"MEIER" not in path.read_bytes()
    assert not (site.bundle / "calibration").exists()


def test_the_audit_log_tells_who_set_what(calibrated: tuple[Site, Result]) -> None:
    site, result = calibrated
    found = json.loads(result.stdout)["precisions"]["fp32"]
    (entry,) = site.told()
    assert entry.detail == {
        "by": operator(),
        "bundle": read_bundle(site.bundle).id[:12],
        "precision": "fp32",
        "rule": "sensitivity=0.90",
        "operating_point": found["operating_point"]["value"],
        "temperature": None,
        "manifest": found["manifest_sha256"][:12],
    }


def test_what_it_was_found_on_is_decided_as_it_says(calibrated: tuple[Site, Result]) -> None:
    """27 of 30 positives are found: the kept point, applied as the box applies it to the scores of the box."""
    site, _ = calibrated
    bundle = read_bundle(site.bundle)
    scores = scores_of(site)
    kept = site.store.find(bundle)
    verdicts = [decide(prediction, bundle.manifest, kept)[1] for prediction in scores["covid"]]
    assert verdicts.count(True) == 27
    assert {decide(prediction, bundle.manifest, kept)[2].source for prediction in scores["other"]} == {"site"}


def scores_of(site: Site) -> dict[str, list[Prediction]]:
    found: dict[str, list[Prediction]] = {"other": [], "covid": []}
    with open_pipeline(Config(bundle=str(site.bundle), state=str(site.root / "none"))) as pipeline:
        for number in range(2 * OF_EACH):
            prediction = pipeline.report(site.root / f"MEIER-{number}.png").prediction
            assert prediction is not None
            found[("other", "covid")[number % 2]].append(prediction)
    return found


def test_show_prints_it_and_remove_takes_it_away(site: Site) -> None:
    shown = site.call("--show")
    assert shown.exit_code == 0
    assert "fp32  operating point" in shown.stdout and "by sensitivity=0.90" in shown.stdout
    assert "temperature       none: 60 radiographs are fewer than 300" in shown.stdout
    assert "left out          1 repeated, 1 unreadable" in shown.stdout
    assert json.loads(site.call("--show", "--json").stdout)["precisions"].keys() == {"fp32"}
    assert json.loads(site.call("--remove", "--json").stdout) == {"removed": True}
    assert not list((site.root / "state/calibration").iterdir())
    assert site.told()[-1].detail == {"by": operator(), "bundle": read_bundle(site.bundle).id[:12], "removed": True}
    gone = site.call("--show")
    assert gone.exit_code == 2 and "has no calibration of bundle tiny" in gone.stderr
    assert site.call("--remove").stdout == "there was nothing to remove\n"
    assert len(site.told()) == 2  # of what was not done there is no entry


def test_a_changed_file_stops_it_until_it_is_removed(site: Site) -> None:
    path = site.store.path(read_bundle(site.bundle).id)
    path.write_text(path.read_text().replace("youden", "half").replace('"positives": 30', '"positives": 3000'))
    for arguments in (["--show"], ["--manifest", str(site.manifest)]):
        refused = site.call(*arguments)
        assert refused.exit_code == 2
        assert "was changed since this box sealed it" in refused.stderr and "--remove" in refused.stderr
    assert site.call("--remove").exit_code == 0
    assert site.call("--show").exit_code == 2


def test_another_bundle_is_not_calibrated_by_it(site: Site) -> None:
    write_manifest(site.bundle, intended_use="another one")
    assert "has no calibration" in site.call("--show").stderr
    assert site.store.find(read_bundle(site.bundle)) is None


def test_nothing_is_kept_of_a_site_that_is_too_small(site: Site) -> None:
    before = site.store.find(read_bundle(site.bundle))
    lines = site.manifest.read_text().splitlines()
    site.manifest.write_text("\n".join(lines[:-3]) + "\n")  # one positive fewer
    refused = site.call("--manifest", str(site.manifest))
    assert refused.exit_code == 2
    assert "29 patients with a positive radiograph and 30" in refused.stderr
    assert site.store.find(read_bundle(site.bundle)) == before
    assert len(site.told()) == 1


def test_a_manifest_that_lists_too_few_is_refused_before_an_hour_of_scoring(site: Site) -> None:
    lines = site.manifest.read_text().splitlines()
    site.manifest.write_text("\n".join(line for line in lines if "covid" not in line) + "\nMEIER-1.png,MEIER-1,\n")
    refused = site.call("--manifest", str(site.manifest))
    assert refused.exit_code == 2
    assert "0 patients with a positive radiograph and 30 with" in refused.stderr
    assert "left (without 1 unlabelled; see docs/" in refused.stderr
    assert "scoring" not in refused.stderr


def test_too_few_that_were_scored_are_told_with_what_became_of_the_others(site: Site) -> None:
    """A site whose radiographs are all refused must hear why."""
    site.manifest.write_text(site.manifest.read_text().replace("MEIER-1.png", "MEIER.txt"))
    refused = site.call("--manifest", str(site.manifest))
    assert refused.exit_code == 2
    assert "29 patients with a positive radiograph and 30 with" in refused.stderr
    assert "left (without 2 repeated, 1 unreadable; see docs/reasons.md" in refused.stderr
    assert "MEIER" not in refused.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "one of --manifest FILE, --show and --remove"),
        (["--show", "--remove"], "one of --manifest FILE, --show and --remove"),
        (["--manifest", "none.csv"], "cannot be read"),
        (["--manifest", "none.csv", "--rule", "half"], "is no rule for a site"),
        (["--show", "--state", "nowhere"], "holds no ledger"),
    ],
)
def test_wrong_use_is_told(site: Site, arguments: list[str], told: str) -> None:
    if "--state" in arguments:
        result = CliRunner().invoke(main, ["calibrate-site", *arguments, "--bundle", str(site.bundle)])
    else:
        result = site.call(*arguments)
    assert result.exit_code == 2 and told in result.stderr


def test_precisions_stand_beside_each_other(site: Site) -> None:
    bundle = read_bundle(site.bundle)
    before = site.store.find(bundle)
    assert before is not None
    site.store.keep(bundle, "int8", replace(before.precisions["fp32"], rule="youden"))
    shown = site.call("--show").stdout
    assert "fp32  operating point" in shown and "int8  operating point" in shown
