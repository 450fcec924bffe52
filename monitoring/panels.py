"""The kinds of panel that our dashboards are made of. What they show is in dashboards.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import prometheus as query

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
BOX = 'job="edge-cxr", instance=~"$instance"'
GOOD, WARNS, BAD, PLAIN = "green", "orange", "red", "blue"


@dataclass(frozen=True)
class Section:
    """A row of a dashboard. closed: it is opened by whoever wants to see it."""

    title: str
    panels: tuple[Any, ...]
    closed: bool = False


def quantile(share: float, buckets: str, *, by: str = "le") -> str:
    """buckets: selector of a histogram's buckets. by: the labels that stay, with le."""
    return f"histogram_quantile({share}, sum by ({by}) (rate({buckets}[$window])))"


def number(
    title: str,
    about: str,
    expr: str,
    unit: str,
    *,
    width: int = 3,
    legend: str = "{{instance}}",
    steps: Mapping[float, str] | None = None,
    says: Mapping[str, tuple[str, str]] | None = None,
    named: bool = False,
) -> stat.Panel:
    """The last value, large.

    steps: colour from a value on. says: text and colour of a value. named: show the legend in its place.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .height(4)
        .span(width)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(looks.BigValueColorMode.BACKGROUND_SOLID if steps or says else looks.BigValueColorMode.NONE)
        .graph_mode(looks.BigValueGraphMode.NONE)
        .text_mode(looks.BigValueTextMode.NAME if named else looks.BigValueTextMode.VALUE)
        .thresholds(_steps(steps or {}))
        .no_value("none")
        .with_target(_asked(expr, legend).instant())
    )
    return panel.mappings([_mapped(says)]) if says else panel


def lines(
    title: str,
    about: str,
    asked: Mapping[str, str],
    unit: str,
    *,
    width: int = 12,
    limit: float | None = None,
    stacked: bool = False,
    bars: bool = False,
    highest: float | None = None,
) -> timeseries.Panel:
    """Values over time. asked: expression by legend. limit: drawn as a dashed line."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(8)
        .span(width)
        .line_width(1 if bars else 2)
        .fill_opacity(80 if bars else 10 if stacked else 0)
        .draw_style(looks.GraphDrawStyle.BARS if bars else looks.GraphDrawStyle.LINE)
        .show_points(looks.VisibilityMode.NEVER)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("all"))
    if limit is not None:
        panel.thresholds(_steps({limit: BAD}))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED))
    if highest is not None:
        panel.max(highest)
    for letter, (legend, expr) in zip("ABCDEF", asked.items(), strict=False):
        panel.with_target(_asked(expr, legend, letter))
    return panel


def bars(title: str, about: str, expr: str, unit: str, legend: str, *, width: int = 8) -> bargauge.Panel:
    """One bar for each label value, now."""
    return (
        bargauge.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .decimals(0)
        .height(8)
        .span(width)
        .orientation(looks.VizOrientation.HORIZONTAL)
        .display_mode(looks.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(PLAIN))
        .no_value("none")
        .with_target(_asked(expr, legend).instant())
    )


def heat_map(title: str, about: str, buckets: str, unit: str, *, width: int = 12) -> heatmap.Panel:
    """How many observations fell into each bucket. buckets: their selector."""
    expr = f"sum by (le) (increase({buckets}[$__rate_interval]))"
    return (
        heatmap.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .height(8)
        .span(width)
        .max_data_points(60)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heat.HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .fill("dark-blue")
            .exponent(0.5)
            .steps(64)
        )
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .cell_gap(1)
        .show_legend()
        .with_target(_asked(expr, "{{le}}").format(query.PromQueryFormat.HEATMAP))
    )


def listing(title: str, about: str, expr: str, columns: Mapping[str, str], *, width: int = 12) -> table.Panel:
    """A row for each series, now. columns: heading by label, in their order."""
    chosen = {"indexByName": {name: place for place, name in enumerate(columns)}, "renameByName": dict(columns)}
    return (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit("none")
        .height(8)
        .span(width)
        .show_header(True)
        .align(looks.FieldTextAlignment.AUTO)
        .cell_options(looks.TableAutoCellOptions())
        .inspect(False)
        .no_value("none")
        .with_target(_asked(expr, "").instant().format(query.PromQueryFormat.TABLE))
        .with_transformation(
            model.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})
        )
        .with_transformation(model.DataTransformerConfig(id_val="organize", options={"excludeByName": {}, **chosen}))
    )


def _asked(expr: str, legend: str, letter: str = "A") -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(SOURCE).expr(expr).legend_format(legend).ref_id(letter)


def _steps(colours: Mapping[float, str]) -> dashboard.ThresholdsConfig:
    first = model.Threshold(value=None, color=GOOD)
    steps = [model.Threshold(value=float(value), color=colour) for value, colour in colours.items()]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps([first, *steps])


def _mapped(says: Mapping[str, tuple[str, str]]) -> model.ValueMap:
    told = {value: model.ValueMappingResult(text=text, color=colour) for value, (text, colour) in says.items()}
    return model.ValueMap(options=told)
