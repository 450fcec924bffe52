"""The dashboards that Grafana is given: whole, explained, and valid by Grafana's own schema."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.pages import FOLDER, Panel, read_pages

MONITORING = Path(__file__).parents[2] / "monitoring"
PAGES = read_pages()
PANELS = [(name, panel) for name, page in PAGES.items() for panel in page.panels if panel.kind != "row"]
IDS = [f"{name}: {panel.title}" for name, panel in PANELS]
each_panel = pytest.mark.parametrize(("name", "panel"), PANELS, ids=IDS)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Made from @grafana/schema by monitoring/schema/generate.sh."""
    told: dict[str, Any] = json.loads((MONITORING / "schema" / "grafana.json").read_bytes())
    return told


def complaints(schema: dict[str, Any], told: object) -> list[str]:
    validator = pytest.importorskip("jsonschema").Draft7Validator(schema)
    causes = [cause for fault in validator.iter_errors(told) for cause in fault.context or [fault]]
    return [f"{'/'.join(map(str, cause.absolute_path))}: {cause.message[:200]}" for cause in causes]


def contents(name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_bytes())
    return told


def own_part(panel: Panel) -> dict[str, Any]:
    """What its kind decides."""
    custom = panel.content.get("fieldConfig", {}).get("defaults", {}).get("custom")
    return {"options": panel.content["options"], **({} if custom is None else {"custom": custom})}


@pytest.mark.parametrize("name", PAGES)
def test_a_dashboard_is_valid_by_grafanas_schema(name: str, schema: dict[str, Any]) -> None:
    assert complaints(schema["Dashboard"], contents(name)) == []


@each_panel
def test_a_panels_options_are_valid_by_grafanas_schema(name: str, panel: Panel, schema: dict[str, Any]) -> None:
    kind = schema[f"{panel.kind.capitalize()}Panel"]
    part = own_part(panel)
    if "custom" not in part and panel.kind == "heatmap":
        part["custom"] = {}
    assert complaints(kind, part) == []


def test_the_schema_finds_what_is_wrong(schema: dict[str, Any]) -> None:
    broken = contents("overview")
    broken["panels"][1]["fieldConfig"]["defaults"]["units"] = "s"
    assert any("'units' was unexpected" in told for told in complaints(schema["Dashboard"], broken))
    (panel,) = [panel for _, panel in PANELS if panel.title == "Disk of the state folder"]
    part = json.loads(json.dumps(own_part(panel)))
    part["custom"]["drawStyle"] = "curve"
    assert complaints(schema["TimeseriesPanel"], part)


@pytest.mark.parametrize("name", PAGES)
def test_a_dashboard_survives_grafanas_own_types(name: str) -> None:
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    pytest.importorskip("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    from monitoring.dashboards import tidied  # noqa: PLC0415 - it needs the extra

    assert tidied(models.Dashboard.from_json(contents(name))) == contents(name)


def test_the_files_are_those_that_the_script_writes() -> None:
    pytest.importorskip("grafana_foundation_sdk")
    from monitoring.dashboards import written  # noqa: PLC0415 - it needs the extra

    for name, text in written().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, "run: python -m monitoring.dashboards"
    assert set(written()) == {path.name for path in FOLDER.iterdir()}


@each_panel
def test_a_panel_says_what_it_shows_in_which_unit(name: str, panel: Panel) -> None:
    assert panel.content["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel.content["description"].endswith(".")
    assert panel.unit
    assert panel.asked
    for target in panel.content["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        assert target["legendFormat"] or panel.kind == "table"
        assert "$instance" in target["expr"] or panel.closed or "ALERTS" in target["expr"]
    if panel.kind == "timeseries":
        assert panel.content["options"]["legend"]["showLegend"] is True


@pytest.mark.parametrize("name", PAGES)
def test_panels_fill_the_grid_without_overlap(name: str) -> None:
    panels = [panel for panel in PAGES[name].panels if not panel.closed]
    assert len({panel.title for panel in panels}) == len(panels)
    assert len({panel.content["id"] for panel in PAGES[name].panels}) == len(PAGES[name].panels)
    for panel in panels:
        x, _, width, _ = panel.place
        assert x + width <= 24, panel.title
    for one, other in combinations(panels, 2):
        assert not _overlap(one.place, other.place), f"{one.title} lies over {other.title}"


def _overlap(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    (x, y, width, height), (u, v, wide, high) = one, other
    return x < u + wide and u < x + width and y < v + high and v < y + height


def test_grafana_is_told_of_prometheus_and_of_the_folder() -> None:
    (source,) = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/edge-cxr.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["jsonData"]["timeInterval"]) == ("prometheus", scrape_interval())
    (given,) = yaml.safe_load((MONITORING / "grafana/provisioning/dashboards/edge-cxr.yml").read_text())["providers"]
    assert given["type"] == "file"
    assert given["options"]["path"] == "/var/lib/grafana/dashboards/edge-cxr"


def scrape_interval() -> str:
    told: str = yaml.safe_load((MONITORING / "prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    return told
