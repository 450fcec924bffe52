"""A real Prometheus server scrapes a real daemon under load: every expression of every panel and rule has data."""

import math
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from edge.bundle import read_bundle
from edge.drift import FOLDER, LEAST, OWN_REFERENCE, Drift
from edge.drift_signals import Signals
from edge.state import open_state
from monitoring.ask import Prometheus, Series
from monitoring.pages import filled, read_pages
from monitoring.rehearsal import box, prometheus, send, wait_until
from monitoring.rule_files import alerts, recorded

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")

SEED = 5  # its files include some of every kind
OTHERS = ("node_", "DCGM_")  # of node_exporter and dcgm-exporter, which do not run here
# What has no data on this machine or before something goes wrong, and why.
UNUSED = {
    'edge_cxr_backend_active{backend="tensorrt"}': "no GPU",
    "instance:edge_cxr_shadow_flips:ratio_1d": "no candidate bundle",
}
NO_VALUE = {"candidate": "no candidate bundle"}  # panels' legends
PANELS = [
    (f"{name}: {panel.title}: {legend}", panel.kind, expr)
    for name, page in read_pages().items()
    for panel in page.panels
    for legend, expr in panel.asked.items()
]


@dataclass(frozen=True)
class Scene:
    server: Prometheus
    began_s: float
    ended_s: float

    def drawn(self, expr: str) -> list[Series]:
        """As a panel asks while the load ran."""
        variables = {"instance": ".+", "window": "10s", "__rate_interval": "5s", "__range": "60s"}
        return self.server.over(filled(expr, variables), self.began_s, self.ended_s, 1.0)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("monitored")
    bundle = write_tiny_bundle(folder / "tiny")
    with_a_past(folder / "state", read_bundle(bundle).id)
    with (
        box(folder, str(bundle), 'after = "archive"\nscan_s = 0.5\nunfinished_after_s = 1\n') as daemon,
        prometheus(folder, daemon.listen) as server,
    ):
        wait_until(lambda: bool(server.now("edge_cxr_ready == 1")), "the first scrape")
        began_s = time.time()
        send(daemon, folder, seed=SEED, count=22, each_s=0.1)
        wait_until(lambda: bool(server.now("sum(edge_cxr_known_answer_tests_total) > 0")), "a scrape")
        wait_until(lambda: bool(server.now("edge_cxr_waiting_files == 0")), "all results")
        time.sleep(3)  # rules see the last results, and recorded series what other rules record
        yield Scene(server, began_s, time.time())


def with_a_past(state: Path, bundle_id: str) -> None:
    """Numbers of earlier radiographs, so that drift is measured from the first scrape on."""
    rng = np.random.default_rng(0)
    drift = Drift(open_state(state).root / FOLDER, bundle_id, {}, lambda line: None)
    for _ in range(OWN_REFERENCE + LEAST):
        drift.see(Signals(*rng.random(6).tolist(), view=0.0, lossy=0.0, format=0.0, refused=0.0))
    drift.save()


def selectors(expr: str) -> list[str]:
    """Every metric that an expression reads, with its label matchers, one for each value."""
    found = re.findall(r"\b((?:instance\w*:)?edge_cxr_[\w:]*|process_\w+|up)\b(\{[^}]*\})?", expr)
    return [one for name, matchers in found for one in _alternatives(name + matchers)]


def _alternatives(selector: str) -> list[str]:
    """One selector for each value of a closed set that it names, because each must be there."""
    named = re.search(r'=~"([\w|]+)"', selector)
    if named is None:
        return [selector]
    return [selector.replace(named.group(), f'="{value}"') for value in named[1].split("|")]


def has_a_value(series: list[Series]) -> bool:
    return any(math.isfinite(value) for one in series for _, value in one.samples)


@pytest.mark.parametrize(("name", "kind", "expr"), PANELS, ids=[name for name, _, _ in PANELS])
def test_a_panel_has_data(scene: Scene, name: str, kind: str, expr: str) -> None:
    if expr_of_others(expr):
        assert scene.drawn(expr) == []  # a valid expression, of what does not run here
    elif name.rsplit(": ", 1)[-1] in NO_VALUE:
        assert scene.drawn(expr) != []
    else:
        assert has_a_value(scene.drawn(expr)), f"no data: {expr}"


def expr_of_others(expr: str) -> bool:
    return any(prefix in expr for prefix in OTHERS)


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_an_alert_reads_what_there_is(scene: Scene, alert: str) -> None:
    for selector in selectors(alerts()[alert]["expr"]):
        if selector not in UNUSED:
            assert scene.server.now(selector), f"no data: {selector}"


@pytest.mark.parametrize("name", sorted(recorded()))
def test_a_recorded_series_has_data(scene: Scene, name: str) -> None:
    for selector in selectors(recorded()[name]):
        assert scene.server.now(selector), f"no data: {selector}"
    if name not in UNUSED:
        assert has_a_value(scene.server.now(name)), f"no data: {name}"


def test_every_rule_is_evaluated_without_error(scene: Scene) -> None:
    told = {rule["name"]: (rule["health"], rule.get("lastError")) for rule in scene.server.rules()}
    assert set(told) == set(alerts()) | set(recorded())
    assert set(told.values()) == {("ok", None)}


def test_of_a_box_that_is_well_only_the_dead_man_fires(scene: Scene) -> None:
    fires = {one.labels["alertname"] for one in scene.server.now('ALERTS{alertstate="firing"}')}
    assert "EdgeCxrDeadMan" in fires
    # Some files were none, and what the past was made of is not what came: these may be told.
    assert fires <= {"EdgeCxrDeadMan", "EdgeCxrUnreadFiles", "EdgeCxrQuarantineGrows", "EdgeCxrDiskLow", "EdgeCxrDrift"}


@pytest.mark.parametrize("name", read_pages())
def test_a_dashboard_is_drawn_with_something_in_every_panel(scene: Scene, name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.text import Text  # noqa: PLC0415 - it is in an extra

    from monitoring.draw import Camera, drawn  # noqa: PLC0415

    figure = drawn(read_pages()[name], Camera(scene.server, scene.ended_s - scene.began_s, "10s", rate_s=5))
    texts = [text.get_text() for text in figure.findobj(Text)]
    titles = [panel.title for panel in read_pages()[name].panels if not panel.closed]
    assert "No data" not in texts
    assert set(titles) - set(texts) <= {"Host and GPU (node_exporter, dcgm-exporter)"}
    figure.savefig(tmp_path / "page.png", dpi=40)


def test_selectors_are_read_out_of_an_expression() -> None:
    expr = 'sum(rate(edge_cxr_a_total{x="1", y=~"b|c"}[1h])) > 0 unless instance:edge_cxr_b:ratio_1h / up{job="j"}'
    each = ['edge_cxr_a_total{x="1", y="b"}', 'edge_cxr_a_total{x="1", y="c"}']
    assert selectors(expr) == [*each, "instance:edge_cxr_b:ratio_1h", 'up{job="j"}']
