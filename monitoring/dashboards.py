"""The two dashboards: what a hospital's engineer looks at, and where the time goes.

python -m monitoring.dashboards     # writes monitoring/grafana/dashboards/*.json again
"""

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from monitoring.latency import latency
from monitoring.overview import overview
from monitoring.panels import SOURCE, Section

FOLDER = Path(__file__).parent / "grafana" / "dashboards"
WINDOWS = ("15m", "1h", "6h", "1d")


def written() -> dict[str, str]:
    """The text of each dashboard, by the name of its file."""
    pages = {
        "overview.json": _page(
            "edge-cxr: overview", "edge-cxr-overview", "Is the box well, and what does it do?", overview()
        ),
        "latency.json": _page(
            "edge-cxr: latency and engine", "edge-cxr-latency", "Where the time goes, and what it runs on.", latency()
        ),
    }
    return {
        name: json.dumps(tidied(page), cls=JSONEncoder, indent=1, sort_keys=True) + "\n" for name, page in pages.items()
    }


def _page(title: str, uid: str, about: str, sections: list[Section]) -> model.Dashboard:
    page = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["edge-cxr"])
        .timezone("browser")
        .refresh("30s")
        .time("now-24h", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("instance")
            .label("Box")
            .datasource(SOURCE)
            .query('label_values(edge_cxr_ready{job="edge-cxr"}, instance)')
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.ALPHABETICAL_ASC)
            .include_all(True)
            .multi(True)
            .current(model.VariableOption(selected=True, text="All", value="$__all"))
        )
        .with_variable(
            dashboard.CustomVariable("window")
            .label("Averaged over")
            .values(",".join(WINDOWS))
            .current(model.VariableOption(selected=True, text="1h", value="1h"))
        )
        .link(
            dashboard.DashboardLink("edge-cxr")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["edge-cxr"])
            .keep_time(True)
        )
    )
    for section in sections:
        _add(page, section)
    return page.build()


def _add(page: dashboard.Dashboard, section: Section) -> None:
    row = dashboard.Row(section.title).collapsed(section.closed)
    if section.closed:  # its panels are kept in the row; those of an open one follow it
        for panel in section.panels:
            row.with_panel(panel)
    page.with_row(row)
    if not section.closed:
        for panel in section.panels:
            page.with_panel(panel)


def tidied(page: model.Dashboard) -> dict[str, Any]:
    """Panels numbered, as Grafana tells them apart, and nothing in it that its newer schema no longer knows."""
    content: dict[str, Any] = json.loads(json.dumps(page, cls=JSONEncoder))
    for variable in content["templating"]["list"]:
        for key in ("auto", "auto_min", "auto_count"):
            variable.pop(key, None)
    panels = [one for panel in content["panels"] for one in (panel, *panel.get("panels", ()))]
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
        if panel["type"] == "table":
            panel["options"].pop("footer", None)
    return content


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in written().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
