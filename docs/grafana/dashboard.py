"""From the panels to the JSON that Grafana imports."""

from __future__ import annotations

import json

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
    VariableSort,
)

from docs.grafana.panels import JOB, ROWS, Kind, Panel
from trellis_celery.monitoring import metrics

COLUMNS = 24
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def dashboard_json() -> str:
    dashboard = (
        builders.Dashboard("Trellis")
        .uid("trellis-celery")
        .description("Processes whose steps are Celery tasks: what is stuck, and whether anybody looks after it.")
        .tags(["celery", "trellis"])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .editable()
        .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_variable("job", "Store", f"label_values({metrics.STORE_UP.name}, job)"))
        .with_variable(
            _variable("process_type", "Process type", f"label_values({metrics.PROCESSES.name}{{{JOB}}}, process_type)")
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    )
    top = 0
    for number, (title, panels) in enumerate(ROWS.items()):
        dashboard.with_row(builders.Row(title).grid_pos(GridPos(x=0, y=top, w=COLUMNS, h=1)).id(100 * number + 100))
        top += 1
        for place, panel in enumerate(panels):
            position = _position(panels, place, top)
            dashboard.with_panel(_panel(panel).id(100 * number + 101 + place).grid_pos(position))
        top = position.y + position.h
    return json.dumps(dashboard.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _position(panels: tuple[Panel, ...], place: int, top: int) -> GridPos:
    """All of a row, side by side; six of them that are no numbers in two lines."""
    height = 4 if panels[0].kind is Kind.NUMBER else 8
    in_a_line = len(panels) if len(panels) <= 3 or height == 4 else 3
    width = COLUMNS // in_a_line
    return GridPos(x=place % in_a_line * width, y=top + place // in_a_line * height, w=width, h=height)


def _variable(name: str, label: str, query: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": "StandardVariableQuery"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    built = _number(panel) if panel.kind is Kind.NUMBER else _lines(panel)
    built.title(panel.title).description(panel.description).datasource(SOURCE).unit(panel.unit)
    for letter, (legend, expression) in zip("ABCDEFGH", panel.queries.items(), strict=False):
        query = prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend or panel.title)
        built.with_target(query.instant() if panel.kind is Kind.NUMBER else query.range())
    return built


def _number(panel: Panel) -> stat.Panel:
    steps = [Threshold(color="green", value=None)]
    steps += [Threshold(color="orange", value=panel.orange)] if panel.orange is not None else []
    steps += [Threshold(color="red", value=panel.red)] if panel.red is not None else []
    built = (
        stat.Panel()
        .graph_mode(BigValueGraphMode.NONE)
        .thresholds(builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    if panel.words:
        options = {
            str(number): ValueMappingResult(text=word, color=color) for number, (word, color) in panel.words.items()
        }
        built.mappings([ValueMap(options=options)])
    return built


def _lines(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .min(0)
        .fill_opacity(10)
        .show_points(VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    if panel.kind is Kind.STACK:
        built.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40)
    return built
