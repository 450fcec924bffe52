"""The dashboards as they lie in monitoring/grafana/dashboards: panels, and what they ask Prometheus."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "grafana" / "dashboards"


@dataclass(frozen=True)
class Panel:
    """kind: Grafana's name of it. asked: expression by legend. place: x, y, width and height on a grid 24 wide.

    closed: it lies in a row that is closed. content: all of it, as it is in the file.
    """

    kind: str
    title: str
    asked: Mapping[str, str]
    place: tuple[int, int, int, int]
    closed: bool
    content: Mapping[str, Any]

    @property
    def unit(self) -> str:
        """As Grafana calls it."""
        if self.kind == "heatmap":
            return str(self.content["options"]["yAxis"]["unit"])
        return str(self.content["fieldConfig"]["defaults"]["unit"])


@dataclass(frozen=True)
class Page:
    title: str
    panels: tuple[Panel, ...]


def read_pages() -> dict[str, Page]:
    """By the name of their file, without its ending. Rows are panels of the kind `row`."""
    return {path.stem: _page(json.loads(path.read_bytes())) for path in sorted(FOLDER.glob("*.json"))}


def filled(expr: str, variables: Mapping[str, str]) -> str:
    """An expression as Grafana sends it. variables: without their $."""
    for name in sorted(variables, key=len, reverse=True):
        expr = expr.replace(f"${name}", variables[name])
    return expr


def _page(content: Mapping[str, Any]) -> Page:
    panels = []
    for panel in content["panels"]:
        panels.append(_panel(panel, closed=False))
        panels += [_panel(inner, closed=True) for inner in panel.get("panels", ())]
    return Page(content["title"], tuple(panels))


def _panel(panel: Mapping[str, Any], *, closed: bool) -> Panel:
    at = panel["gridPos"]
    asked = {target["legendFormat"]: target["expr"] for target in panel.get("targets", ())}
    return Panel(panel["type"], panel["title"], asked, (at["x"], at["y"], at["w"], at["h"]), closed, panel)
