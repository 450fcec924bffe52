"""A site's calibration, from its manifest to the file that the box serves by: scored, fitted, sealed, kept."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge.audit import Event, operator
from edge.bundle import Bundle
from edge.config import Config
from edge.outputs.durable import write_durably
from edge.outputs.reliability_diagram import Series, draw_reliability, encode_png
from edge.reading_room import open_pipeline
from edge.shelf import open_configured
from edge.site_calibration import DIGITS, CalibrationStore, PrecisionCalibration, SiteCalibration
from edge.site_cohort import SiteManifest, SiteRow, SiteScores, read_site_manifest, score_site
from edge.site_fit import SiteFit, check_rule, fit_site, require_enough
from edge.state import StateFolder, existing_state, files_held
from edge.upkeep import Upkeep
from edge.values import EngineIdentity

Watching = Callable[[Sequence[SiteRow]], AbstractContextManager[Iterable[SiteRow]]]


@dataclass(frozen=True)
class Kept:
    """A site's calibration as it is kept. diagram: the picture of the reliability of the precision last calibrated."""

    bundle_name: str
    precision: str
    calibration: SiteCalibration
    path: Path
    diagram: Path


def calibrate_site(config: Config, manifest: Path, rule: str, watching: Watching) -> Kept:
    """Score the manifest's radiographs with the engine that serves here, and keep what the rule finds with it.

    watching: hands the rows on while somebody is shown how far it is. The audit log tells of it before it is kept.
    Raises UsageError for a manifest, rule or cohort that gives no calibration, EngineError, and StateError.
    """
    check_rule(rule)
    state = existing_state(Path(config.state))
    with open_pipeline(config, by_site=False) as pipeline:
        bundle, engine = pipeline.bundle, pipeline.engine.identity
        CalibrationStore(state.root, site_key=state.site_key).find(bundle)  # one that is refused is refused now
        listed = read_site_manifest(manifest, bundle.manifest.labels)
        require_enough(listed.rows, listed.left_out)
        known = frozenset(bundle.reference().case_ids)
        with watching(listed.rows) as rows:
            scores = score_site(listed, rows, pipeline.report, known)
    require_enough(scores.cases, scores.left_out)
    fit = fit_site(scores.cases, rule)
    return _keep(state, bundle, engine, fit, _found(rule, fit, scores, listed, engine))


def kept_calibration(config: Config) -> tuple[Bundle, SiteCalibration | None]:
    """Of the configured bundle. Raises BundleError when the file is not as the box sealed it."""
    state, bundle = _opened(config)
    return bundle, CalibrationStore(state.root, site_key=state.site_key).find(bundle)


def remove_calibration(config: Config) -> bool:
    """Go back to the bundle's own values from the next start on. False where there was nothing to remove."""
    state, bundle = _opened(config)
    store = CalibrationStore(state.root, site_key=state.site_key)
    with files_held(state):
        if store.path(bundle.id).exists():
            with Upkeep(state.ledger, site_key=state.site_key) as ledger:
                told = {"by": operator(), "bundle": bundle.id[:DIGITS], "removed": True}
                ledger.note(Event.CALIBRATED, told)
        return store.remove(bundle.id)


def _opened(config: Config) -> tuple[StateFolder, Bundle]:
    return existing_state(Path(config.state)), open_configured(config)


def _found(
    rule: str, fit: SiteFit, scores: SiteScores, listed: SiteManifest, engine: EngineIdentity
) -> PrecisionCalibration:
    held_out = fit.scaling.held_out
    return PrecisionCalibration(
        rule=rule,
        operating_point=fit.operating_point,
        temperature=fit.temperature,
        uncalibrated=fit.scaling.hindrance,
        sensitivity=fit.sensitivity,
        specificity=fit.specificity,
        auc=fit.auc,
        ece=None if held_out is None else held_out.ece,
        positives=fit.positives,
        negatives=fit.negatives,
        patients=fit.patients,
        left_out=scores.left_out,
        manifest_sha256=listed.sha256,
        backend=engine.backend,
        runtime=engine.version,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        by=operator(),
    )


def _keep(
    state: StateFolder, bundle: Bundle, engine: EngineIdentity, fit: SiteFit, found: PrecisionCalibration
) -> Kept:
    store = CalibrationStore(state.root, site_key=state.site_key)
    diagram = store.diagram_path(bundle.id, engine.precision)
    told = {
        "by": found.by,
        "bundle": bundle.id[:DIGITS],
        "precision": engine.precision,
        "rule": found.rule,
        "operating_point": found.operating_point.value,
        "temperature": found.temperature,
        "manifest": found.manifest_sha256[:DIGITS],
    }
    with files_held(state):
        with Upkeep(state.ledger, site_key=state.site_key) as ledger:
            ledger.note(Event.CALIBRATED, told)
        write_durably(diagram, _diagram(bundle, engine.precision, fit))
        kept = store.keep(bundle, engine.precision, found)
    return Kept(bundle.manifest.name, engine.precision, kept, store.path(bundle.id), diagram)


def _diagram(bundle: Bundle, precision: str, fit: SiteFit) -> bytes:
    negative, positive = bundle.manifest.labels
    heading = f"{bundle.manifest.name}, {precision}: {fit.positives} {positive}, {fit.negatives} {negative}"
    return encode_png(draw_reliability(series_of(fit), heading=heading))


def series_of(fit: SiteFit) -> list[Series]:
    """What the diagram shows. Held-out scores have the temperatures of the halves, not the one of all."""
    series = [Series("the network's scores", fit.unscaled)]
    if fit.scaling.held_out is not None:
        use = "" if fit.scaling.hindrance is None else ", not used"
        series.append(Series(f"scaled by the other half's temperature{use}", fit.scaling.held_out))
    return series
