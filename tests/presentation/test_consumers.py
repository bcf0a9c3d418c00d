"""The figure of a service that is scaled, and the page of a run that shows it."""

import numpy as np

from sim.evidence.checks import check
from sim.evidence.metrics import summaries
from sim.show.consumers import consumers
from sim.show.run_page import render_run
from sim.worlds.simulated import simulate
from tests.model.small import scenario, service, steady

RULE = {"max": 4, "backlog_per_consumer": 5, "every_s": 0.5, "down_after_s": 1.0}


def test_the_steps_are_those_of_the_rule() -> None:
    history = simulate(scenario(steady(60.0, 3.0), desk=service(0.05, autoscale=RULE)), [0])
    figure = consumers(history, service="desk")
    above, below = figure.axes
    (line,) = above.lines
    at_s, many = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert many[at_s < 0.45].max() == 1 and many.max() == 4 and np.all(many == np.round(many))
    assert above.get_ylabel() == "desk\nconsumers (number)" and below.get_ylabel() == "backlog (messages)"


def test_the_page_of_a_run_shows_it() -> None:
    history = simulate(scenario(steady(60.0, 1.0), desk=service(0.05, autoscale=RULE)), [0])
    page = render_run(history, summaries(history), check(history), command="workbench simulate x.yaml")
    assert "Consumers of desk" in page and "1 to 4, one for each 5 messages of backlog" in page
