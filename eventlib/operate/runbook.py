"""The runbook: a section for each alert, with what it means, its mend and the question that finds it. Pure."""

from eventlib.operate.alerts import ALERTS, Alert
from eventlib.thresholds import Thresholds

_HEAD = """# Runbook

What each alert means, and what to do. `workbench alerts --runbook` writes this page, and `workbench alerts` the rules
for Prometheus, from the same declarations and thresholds. `workbench monitor` and `workbench doctor` use these names.

An alert asks the metrics of programs (`/metrics` of a bus), those of `workbench exporter`, or both. Where both are
scraped, both tell of a stream of eventlib: the label `source` says which one did.
"""


def runbook(thresholds: Thresholds) -> str:
    """The page, in Markdown, with the thresholds that are in force."""
    table = ["## Thresholds", "", "| threshold | value | what |", "|---|---|---|"]
    for name, field in Thresholds.model_fields.items():
        table.append(f"| `{name}` | {getattr(thresholds, name)} | {field.description} |")
    sections = [_section(alert, thresholds) for alert in sorted(ALERTS, key=lambda alert: alert.name)]
    return "\n".join([_HEAD, *table, "", "\n".join(sections)])


def _section(alert: Alert, thresholds: Thresholds) -> str:
    lasting = "at once" if alert.lasting is None else f"after {alert.after_s(thresholds):.0f} s"
    lines = [f"## {alert.name}", "", f"*{alert.severity}, {lasting}.* {alert.means}", ""]
    lines += [f"{number}. {step}" for number, step in enumerate(alert.mend, 1)]
    for source, query in alert.queries.items():
        lines += ["", f"Asked of the {source}:", "", "```promql", query(thresholds), "```"]
    return "\n".join([*lines, ""])
