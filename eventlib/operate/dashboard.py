"""A dashboard for Grafana, made of the panels and of the thresholds that the alert rules have too. Pure: a document."""

from typing import Any

from eventlib.operate.panels import ROWS, Panel
from eventlib.thresholds import Thresholds

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA_VERSION = 39  # of Grafana 10.4; later ones read it and raise it themselves
_COLUMNS, _HEIGHT = 24, 8


def dashboard(thresholds: Thresholds) -> dict[str, Any]:
    """The dashboard, as Grafana imports it."""
    panels, top, number = list[dict[str, Any]](), 0, 1
    for title, row in ROWS.items():
        panels.append({"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": _at(0, top, 24, 1)})
        number, top, left = number + 1, top + 1, 0
        height = 4 if row[0].stat else _HEIGHT
        for panel in row:
            if left + panel.width > _COLUMNS:
                left, top = 0, top + height
            panels.append(_panel(panel, thresholds, number, _at(left, top, panel.width, height)))
            number, left = number + 1, left + panel.width
        top += height
    return {
        "uid": "eventlib",
        "title": "Event streams: programs and Redis",
        "description": "Metrics of eventlib's programs and of workbench exporter.",
        "tags": ["eventlib", "redis"],
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _at(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel, thresholds: Thresholds, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": _limit(panel.limit, thresholds)})
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    options: dict[str, Any]
    if panel.stat:
        options = {
            "colorMode": "value",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "values": False},
        }
    else:
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "off" if panel.limit is None else "line"},
        }
    return {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.about,
        "gridPos": place,
        "datasource": SOURCE,
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def _limit(limit: str | float, thresholds: Thresholds) -> float:
    """Where the line is: a count is too many from the next one on."""
    if not isinstance(limit, str):
        return limit
    value = getattr(thresholds, limit)
    return value + 1 if isinstance(value, int) else float(value)


def _variables() -> list[dict[str, Any]]:
    asked = {
        "stream": ("stream", "label_values(eventlib_stream_entries, stream)"),
        "group": ("group", 'label_values(eventlib_backlog_entries{stream=~"$stream"}, group)'),
        "key": ("key of any library", "label_values(workbench_stream_entries, stream)"),
        "any_group": ("its group", 'label_values(workbench_group_pending_entries{stream=~"$key"}, group)'),
    }
    source = {"name": "datasource", "type": "datasource", "label": "Prometheus", "query": "prometheus"}
    return [source] + [
        {
            "name": name,
            "type": "query",
            "label": label,
            "datasource": SOURCE,
            "query": question,
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }
        for name, (label, question) in asked.items()
    ]
