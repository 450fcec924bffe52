"""Draws the dashboards from what a Prometheus server has, into PNG files: what Grafana would show, without Grafana.

    python -m monitoring.draw --prometheus http://127.0.0.1:9090 --hours 24 --window 1h --out pictures

Rows that are closed in Grafana are left out.
"""

import argparse
import re
import time
from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monitoring.ask import Prometheus, Series
from monitoring.pages import Page, Panel, filled, read_pages
from monitoring.sketch import INK, OVER_TIME, Found, drawer, instant

_UNIT_WIDE, _UNIT_HIGH = 0.75, 0.36  # inches, of a grid 24 wide
RESOLUTION = 70  # dots an inch
_STEPS = 240  # points of a line
# Left, as a share of the page, and below, in grid units: scales and legends.
_MARGINS = {
    "timeseries": (0.042, 2.1),
    "heatmap": (0.042, 1.1),
    "bargauge": (0.1, 0.5),
    "stat": (0.007, 0.35),
    "table": (0.007, 0.35),
}
_BACKGROUND = "#f4f5f5"


class Camera:
    """Asks as Grafana would for a range of time that ends now. window: what `Averaged over` is set to."""

    def __init__(self, server: Prometheus, span_s: float, window: str, *, rate_s: float) -> None:
        self._server, self._span_s = server, span_s
        self.end_s = time.time()
        self.start_s = self.end_s - span_s
        self._variables = {"instance": ".+", "window": window, "__range": f"{span_s:.0f}s"}
        self._rate_s = rate_s

    def found(self, panel: Panel) -> Found:
        told: list[tuple[str, Series]] = []
        for legend, expr in panel.asked.items():
            told += [(_named(legend, series.labels), series) for series in self._asked(panel, expr)]
        return told

    def _asked(self, panel: Panel, expr: str) -> list[Series]:
        if panel.kind not in OVER_TIME:
            return self._server.now(filled(expr, self._variables), self.end_s)
        step_s = max(self._span_s / (panel.content.get("maxDataPoints") or _STEPS), 1.0)
        rate = {"__rate_interval": f"{max(step_s, self._rate_s):.0f}s"}
        return self._server.over(filled(expr, self._variables | rate), self.start_s, self.end_s, step_s)


def drawn(page: Page, camera: Camera) -> Figure:
    panels = [panel for panel in page.panels if not panel.closed and not panel.content.get("collapsed")]
    high = max(panel.place[1] + panel.place[3] for panel in panels) + 2
    figure = Figure(figsize=(24 * _UNIT_WIDE, high * _UNIT_HIGH), facecolor=_BACKGROUND)
    figure.text(0.008, 1 - 1 / high, page.title, size=17, weight="bold", va="center", color=INK)
    for panel in panels:
        x, y, width, height = panel.place
        place = (x / 24, 1 - (y + height + 2) / high, width / 24, height / high)
        if panel.kind == "row":
            figure.text(place[0] + 0.008, place[1] + place[3] / 2, panel.title, size=12, va="center", color=INK)
        else:
            _frame(figure, panel, place, high)
            axes = _inside(figure, panel, place, high)
            drawer(panel.kind)(axes, panel, camera.found(panel))
            if panel.kind in OVER_TIME:
                axes.set_xlim(instant(camera.start_s), instant(camera.end_s))
    return figure


def _frame(figure: Figure, panel: Panel, place: tuple[float, float, float, float], high: float) -> None:
    x, y, width, height = place
    frame = figure.add_axes((x + 0.002, y + 0.12 / high, width - 0.004, height - 0.24 / high))
    frame.set(xticks=[], yticks=[], facecolor="white")
    for spine in frame.spines.values():
        spine.set_color("#e0e1e2")
    figure.text(x + 0.007, y + height - 0.75 / high, panel.title, size=10, weight="bold", va="center", color=INK)


def _inside(figure: Figure, panel: Panel, place: tuple[float, float, float, float], high: float) -> Axes:
    """What is left of the frame beside title, scale and legend."""
    x, y, width, height = place
    left, below = _MARGINS[panel.kind]
    axes = figure.add_axes((x + left, y + below / high, width - left - 0.01, height - (below + 1.4) / high))
    axes.tick_params(labelsize=8, colors=INK, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), legend)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--prometheus", default="http://127.0.0.1:9090")
    asked.add_argument("--hours", type=float, default=24.0, help="how far back")
    asked.add_argument("--window", default="1h", help="what rates are averaged over")
    asked.add_argument("--rate-s", type=float, default=60.0, help="four times the scrape interval")
    asked.add_argument("--out", type=Path, default=Path("pictures"))
    given = asked.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    camera = Camera(Prometheus(given.prometheus), given.hours * 3600, given.window, rate_s=given.rate_s)
    for name, page in read_pages().items():
        drawn(page, camera).savefig(given.out / f"{name}.png", dpi=RESOLUTION)


if __name__ == "__main__":
    main()
