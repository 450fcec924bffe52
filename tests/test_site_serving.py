"""A site's calibration where it counts: in results of the daemon and of infer, and in a backup."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from site_calibrations import FOUND
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.backup import backup, restore
from edge.bundle import read_bundle
from edge.cli import main
from edge.config import Config
from edge.daemon import Daemon
from edge.errors import BundleError
from edge.phantom import render
from edge.phantom_dicom import write_png
from edge.site_calibration import CalibrationStore, PrecisionCalibration, SiteCalibration
from edge.state import open_state
from edge.statistics import Interval
from edge.temperature import apply_temperature

SCALED = replace(FOUND, operating_point=Interval(0.6, 0.55, 0.65))


def box(root: Path) -> Config:
    (root / "incoming").mkdir(parents=True)
    write_png(render(1, "covid", longest_side=256), root / "incoming/chest.png")
    return Config(bundle=str(write_tiny_bundle(root / "tiny")), state=str(root / "state"), listen="")


def calibrate(config: Config, found: PrecisionCalibration, precision: str = "fp32") -> SiteCalibration:
    state, bundle = open_state(Path(config.state)), read_bundle(Path(config.bundle))
    return CalibrationStore(state.root, site_key=state.site_key).keep(bundle, precision, found)


def watched(config: Config) -> dict[str, object]:
    root = Path(config.state).parent
    Daemon(config, root / "incoming", once=True, logger=logging.getLogger("test")).run()
    (result,) = (root / "state/results").rglob("*.json")
    return json.loads(result.read_text())


def verdict(result: dict[str, object]) -> dict[str, object]:
    return {name: result[name] for name in ("score", "calibrated", "positive", "operating_point", "decision")}


def test_results_name_what_judged_them(tmp_path: Path) -> None:
    """One radiograph on three boxes: not calibrated, with a point and a temperature, and with a point alone."""
    plain = watched(box(tmp_path / "plain"))
    nothing = {"source": "bundle", "operating_point": 0.5, "temperature": None, "site_calibration": None}
    assert (plain["calibrated"], plain["decision"]) == (False, nothing)
    score = plain["score"]
    assert isinstance(score, float) and 0.5 < score < 0.6 and plain["positive"]
    for name, found in (("scaled", SCALED), ("unscaled", replace(SCALED, temperature=None))):
        config = box(tmp_path / name)
        digest = calibrate(config, found).digest[:12]
        temperature = found.temperature
        decision = {"source": "site", "operating_point": 0.6, "temperature": temperature, "site_calibration": digest}
        shown = score if temperature is None else float(apply_temperature(score, temperature))
        assert verdict(watched(config)) == {
            "score": pytest.approx(shown),
            "calibrated": temperature is not None,
            "positive": False,
            "operating_point": 0.6,
            "decision": decision,
        }


@pytest.mark.parametrize(("label", "told"), [("covid", True), ("other", False)])
def test_neighbours_disagree_with_the_sites_verdict(tmp_path: Path, label: str, told: bool) -> None:
    """The radiograph is positive by the bundle's point, and by the site's on another scale. People read the site's."""
    config = box(tmp_path)
    folder = Path(config.bundle)
    arrays = dict(np.load(folder / "reference.npz"))
    np.savez(folder / "reference.npz", **arrays | {"labels": np.array([label] * len(arrays["labels"]))})
    write_manifest(folder)
    calibrate(config, replace(SCALED, operating_point=Interval(0.514, 0.5, 0.6)))
    result = watched(config)
    score = float(apply_temperature(result["score"], 1 / FOUND.temperature))  # type: ignore[arg-type,operator]
    assert (result["positive"], score > 0.514) == (False, True)
    assert ("neighbours_disagree" in result["warnings"]) == told  # type: ignore[operator]


def test_infer_decides_as_the_daemon_does(tmp_path: Path) -> None:
    config = box(tmp_path)
    calibrate(config, SCALED)
    file = tmp_path / "box.toml"
    file.write_text(f'state = "{config.state}"\nbundle = "{config.bundle}"\n')
    shown = CliRunner().invoke(main, ["infer", str(tmp_path / "incoming/chest.png"), "--config", str(file), "--json"])
    assert verdict(json.loads(shown.stdout)[0]) == verdict(watched(config))


def test_a_precision_that_the_site_did_not_try_has_no_verdict(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = box(tmp_path)
    calibrate(config, SCALED, "int8")
    result = watched(config)
    assert (result["positive"], result["operating_point"], result["calibrated"]) == (None, None, False)
    why = "not for fp32, which scores: results have no verdict"
    assert why in caplog.text
    (tmp_path / "edge-cxr.toml").write_text(f'bundle = "{config.bundle}"\nstate = "{config.state}"\n')
    radiograph = str(tmp_path / "incoming/chest.png")
    shown = CliRunner().invoke(main, ["infer", radiograph, "--json", "--config", str(tmp_path / "edge-cxr.toml")])
    assert why in shown.stderr
    assert json.loads(shown.stdout)[0]["positive"] is None


def test_nothing_is_scored_by_a_changed_file(tmp_path: Path) -> None:
    config = box(tmp_path)
    calibrate(config, SCALED)
    (file,) = (tmp_path / "state/calibration").iterdir()
    file.write_text(file.read_text().replace("0.6", "0.4"))
    with pytest.raises(BundleError, match="was changed since this box sealed it"):
        watched(config)
    assert not list((tmp_path / "state").glob("results/*/*"))


def test_a_restored_box_decides_as_before(tmp_path: Path) -> None:
    config = box(tmp_path)
    kept = calibrate(config, SCALED)
    before = watched(config)
    backup(open_state(Path(config.state)), tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "new")
    state = open_state(tmp_path / "new")
    assert CalibrationStore(state.root, site_key=state.site_key).find(read_bundle(Path(config.bundle))) == kept
    assert before["decision"]
