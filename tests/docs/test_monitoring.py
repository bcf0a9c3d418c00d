"""docs/operations.md, on the monitor and the doctor: the rights are enough, and the picture is what is drawn."""

import io
import json
import re

import redis
from rich.console import Console
from typer.testing import CliRunner

from eventlib.broker.surveying import GroupSurvey, StreamSurvey, Survey
from eventlib.cli.monitor.screen import State, draw
from eventlib.operate.trends import Trends
from eventlib.testing import private_server
from eventlib.thresholds import Thresholds
from sim.cli.commands import app
from tests.repository import TOP

PAGE = (TOP / "docs" / "operations.md").read_text(encoding="utf-8")


def test_the_doctor_sees_all_with_the_rights_of_the_page() -> None:
    exporter = re.search(r"ACL SETUSER exporter (.*)$", PAGE, re.MULTILINE)
    more = re.search(r"^`(\+acl\|whoami .*)`\.$", PAGE, re.MULTILINE)
    assert exporter is not None and more is not None
    with private_server(port=0) as server, redis.Redis.from_url(server.url) as admin:
        admin.xadd("orders", {"a": 1})
        admin.execute_command("ACL", "SETUSER", "doctor", *exporter[1].split(), *more[1].split())
        url = server.url.replace("redis://", "redis://doctor:password@")
        done = CliRunner().invoke(app, ["doctor", url, "--json", "-"])
    assert json.loads(done.stdout)["unseen"] == []


def test_the_picture_of_the_monitor_has_its_columns() -> None:
    [head] = re.findall(r"^(stream +group +.*)$", PAGE, re.MULTILINE)
    screen = io.StringIO()
    group = GroupSurvey("billing", 1, 0, 1.0, None, 1, 0, 0)
    view = Trends(Thresholds()).note(0.0, Survey((StreamSurvey("orders", 1, 1, None, (group,)),)))
    Console(file=screen, width=80).print(draw(State("redis://localhost", view), 80, 24))
    assert head == screen.getvalue().splitlines()[1].rstrip()
